"""Exchanges random table gradients in every way on four gloo processes, and compares them with their mean.

Usage: ``python rows_run.py`` with torchrun's variables. Errors of any process end with its output.
"""

import itertools
import os

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mtl_lightning.errors import MtlError
from mtl_lightning.training import exchange, rows
from mtl_lightning.training.exchange import RowExchange

SIZE, WIDTH = 9, 3


def gradient(rank: int) -> Tensor | None:
    """Rows that repeat; unequally many per process, and none on one of them. Row 0 is padding."""
    if rank == 2:
        return None
    random = torch.Generator().manual_seed(rank)
    keys = torch.randint(1, SIZE - 1, (4 + 3 * rank,), generator=random)
    values = torch.randn(len(keys), WIDTH, generator=random)
    return torch.sparse_coo_tensor(keys.unsqueeze(0), values, (SIZE, WIDTH), check_invariants=False)


class Reads(TorchDispatchMode):
    """Names of the operations whose shapes or results need values on the host."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        name = operation.overloadpacket.__name__
        indices = arguments[1] if name == "index" else ()
        if name in ("nonzero", "_local_scalar_dense", "_unique2", "_coalesce") or any(
            index is not None and index.dtype == torch.bool for index in indices
        ):
            self.names.append(name)
        return operation(*arguments, **(options or {}))


def main() -> None:
    torch.set_num_threads(1)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo")
    gradients = [g.to_dense().double() for r in range(world) if (g := gradient(r)) is not None]
    expected, bound = sum(gradients) / world, sum(g.abs() for g in gradients) / world * 2**-8
    touched = {int(row) for r in range(world) if (g := gradient(r)) is not None for row in g._indices()[0]}
    for group, values, device in itertools.product((0, 2), ("full", "bfloat16"), (False, True)):
        with pytest.MonkeyPatch.context() as patch:
            table = nn.Parameter(torch.zeros(SIZE, WIDTH))
            table.grad = gradient(rank)
            if device:
                table.zero_row = 0
                for module in (rows, exchange):
                    patch.setattr(module, "HOST", ())
            with Reads() as reads:
                sent = RowExchange(group, values)(table)
        if device:  # only the sizes, on which hosts agreed
            assert reads.names == ["_local_scalar_dense"] * (3 if group else 1), reads.names
        merged = table.grad
        error = (merged.to_dense().double() - expected).abs()
        assert bool((error <= (bound if values == "bfloat16" else 1e-6)).all()), (group, values, device)
        if values == "bfloat16":
            assert float(error.max()) > 1e-5
        merged_rows = [int(row) for row in merged._indices()[0] if not device or int(row)]
        assert sorted(merged_rows) == sorted(touched)
        entry = 4 + WIDTH * (4 if values == "full" else 2)
        assert sent % entry == 0 or group, "a process sends whole entries"
        if device and not group:
            assert sent == 13 * entry, "as many entries as the largest process has, equal rows included"
        same = [torch.empty(merged._values().shape) for _ in range(world)]
        dist.all_gather(same, merged._values().contiguous())
        assert all(torch.equal(same[0], other) for other in same)
    with pytest.raises(MtlError, match="3 processes per node do not divide 4"):
        RowExchange(3)(table)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
