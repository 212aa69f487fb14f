"""Two processes train on the same global batches as one, in the order of a function."""

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from launch import HERE, launch
from order_run import POOLS, RATE, build_data


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    launch([str(HERE / "order_run.py"), str(tmp_path / "out")], world=2)
    first, second = (json.loads((tmp_path / f"out.{rank}").read_text()) for rank in range(2))
    for pool, (weights, left), (others, right) in zip(POOLS, first, second, strict=True):
        loader, weight, rows = build_data(128, pool).train_dataloader(), torch.zeros(2, dtype=torch.float64), []
        for batch in (batch for _ in range(2) for batch in loader):
            rows.append(batch.ids[:, 0].tolist())
            errors = batch.dense.double() @ weight - batch.labels[:, 0]
            weight -= RATE * 2 * batch.dense.double().T @ errors / len(batch)
        assert [part + other for part, other in zip(left, right, strict=True)] == rows
        assert weights == others == pytest.approx(weight.tolist(), rel=1e-9)
