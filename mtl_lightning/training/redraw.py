"""Tables that are drawn anew at each epoch, so that a second pass over the rows does not overfit them."""

from collections.abc import Iterable

import torch
from torch.optim import Optimizer

from mtl_lightning.errors import MtlError
from mtl_lightning.interfaces import Encoder


def check_redraw(encoder: Encoder) -> None:
    """Refuse an encoder whose tables cannot be drawn anew.

    Raises:
        MtlError: If it does not define :meth:`~mtl_lightning.interfaces.Encoder.draw_tables`.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> check_redraw(example()[1])
    """
    if type(encoder).draw_tables is Encoder.draw_tables:
        raise MtlError(
            f"optimizer.redraw_tables: {type(encoder).__name__} cannot draw its tables anew",
            "leave the option out, or choose an encoder that defines draw_tables",
        )


@torch.no_grad()
def redraw_tables(encoder: Encoder, optimizers: Iterable[Optimizer], *, seed: int, epoch: int) -> None:
    """Draw the tables anew and set the optimizer's state of them to zero.

    The values depend on the seed, the epoch and the kind of device only: processes agree, and so does a resumed run.

    Args:
        encoder: Encoder, whose tables are filled in place.
        optimizers: Optimizers, one of which holds the tables.
        seed: Seed of the run.
        epoch: Number of the epoch that starts.

    Source: Fan et al., "Multi-Epoch Learning with Data Augmentation for Deep Click-Through Rate Prediction" (MEDA),
        2024 (arXiv 2407.01607), non-continual form.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> encoder = example()[1]
        >>> before = encoder.table.weight.clone()
        >>> redraw_tables(encoder, [], seed=0, epoch=1)
        >>> bool((encoder.table.weight[1:] != before[1:]).all()), encoder.table.weight[0].tolist()
        (True, [0.0, 0.0, 0.0, 0.0])
    """
    tables = encoder.table_parameters()
    if not tables:
        return
    generator = torch.Generator(device=tables[0].device)
    generator.manual_seed((seed * 1_000_003 + epoch) % 2**63)
    encoder.draw_tables(generator)
    for optimizer in optimizers:
        for table in tables:
            for value in optimizer.state.get(table, {}).values():
                value.zero_()
