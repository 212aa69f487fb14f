"""Fields that condition a network: a scenario, the ids of user and item."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_lightning.errors import MtlError, did_you_mean
from mtl_lightning.interfaces import Encoded, Encoder, Schema


def check_known(option: str, schema: Schema, names: Sequence[str]) -> None:
    """Refuse unknown names of features.

    Args:
        option: The option that names them, for the message.
        schema: Fitted schema.
        names: Fields.

    Raises:
        MtlError: With the nearest name.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> check_known("scenario", example()[0], ["user"])
    """
    known = [field.name for field in schema.fields]
    for name in names:
        if name not in known:
            raise MtlError(f"architecture.{option}: no feature {name!r}", did_you_mean(name, known))


def check_priors(option: str, schema: Schema, encoder: Encoder, names: Sequence[str]) -> int:
    """Joint width of the slices of z that come from these fields.

    Args:
        option: The option that names them, for the message.
        schema: Fitted schema.
        encoder: Built encoder.
        names: Fields.

    Raises:
        MtlError: If a field does not exist, or the encoder mixes the fields.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> schema, encoder, _ = example()
        >>> check_priors("priors", schema, encoder, ["user", "item"])
        8
    """
    check_known(option, schema, names)
    width = 0
    for name in names:
        if name not in encoder.slices:
            raise MtlError(f"architecture.{option}: the encoder has no part of z for {name!r}",
                           "leave encoder.hidden empty, and choose an encoder that keeps fields apart")  # fmt: skip
        width += encoder.slices[name].stop - encoder.slices[name].start
    return width


def prior_parts(encoded: Encoded, names: Sequence[str], *others: Tensor) -> Tensor:
    """The fields' slices of z and other tensors side by side, [B, Σ]."""
    return torch.cat([*(encoded.field(name) for name in names), *others], dim=1)
