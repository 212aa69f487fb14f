"""Steps of rows that hold them themselves, in fixed-size records."""

import torch
from torch import Tensor

from mtl_lightning.data.store.events import rounded
from mtl_lightning.schema import Field
from mtl_lightning.steps import Steps


def listed_steps(rows: Tensor, field: Field, width: int | None = None) -> Steps:
    """Return the steps of some rows, trimmed to the longest.

    Args:
        rows: Number of steps and records of each row, [B, 1 + length × words] int32.
        field: Field of the steps.
        width: Steps of each row, padding included; None for what the longest row needs.

    Example:
        >>> field = Field(name="tags", kind="history", length=2, steps=(Field(name="tag", kind="categorical", size=9),))
        >>> steps = listed_steps(torch.tensor([[1, 5, 0]], dtype=torch.int32), field)
        >>> steps.ids.flatten().tolist(), steps.length.tolist()
        ([5, 0], [1])
    """
    ids = len(field.steps_of_kind("categorical"))
    length = rows[:, 0].long()
    if width is None:
        width = rounded(int(length.max()) if len(length) else 0, field.length)
    records = rows[:, 1:].reshape(len(rows), field.length, len(field.steps))[:, :width]
    return Steps(records[:, :, :ids].long(), records[:, :, ids:].contiguous().view(torch.float32), length)
