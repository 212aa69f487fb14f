"""Parts of z by table set."""

from mtl_lightning.interfaces import Encoder, MtlError


def check_copies(architecture: str, encoder: Encoder, copies: int) -> int:
    """Width of z per table set.

    Args:
        architecture: Name of the architecture, for the message.
        encoder: Built encoder.
        copies: Number of table sets it was asked for.

    Raises:
        MtlError: If the encoder ends in an MLP or mixes fields, so that z has no slices.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> check_copies("stem", example(copies=3)[1], 3)
        13
    """
    if copies > 1 and (not encoder.slices or encoder.width % copies):
        raise MtlError(f"architecture: {architecture} needs a part of z per table set, and the encoder gives none",
                       "leave encoder.hidden empty, and choose an encoder that keeps fields apart")  # fmt: skip
    return encoder.width // copies
