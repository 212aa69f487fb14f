"""Parts of z by table set."""

from mtl_lightning.errors import MtlError
from mtl_lightning.interfaces import Encoder


def check_copies(architecture: str, encoder: Encoder, copies: int) -> int:
    """Width of z per table set.

    Args:
        architecture: Name of the architecture, for the message.
        encoder: Built encoder.
        copies: Number of table sets it was asked for.

    Raises:
        MtlError: If the encoder ends in an MLP, so that z has no part per table set.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> check_copies("stem", example(copies=3)[1], 3)
        13
    """
    if copies > 1 and (not encoder.slices or encoder.width % copies):
        raise MtlError(f"architecture: {architecture} needs separate tables, and the encoder mixes them",
                       "leave encoder.hidden empty")  # fmt: skip
    return encoder.width // copies
