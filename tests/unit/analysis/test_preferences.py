"""Preferences along which models are measured."""

import pytest
import torch

from mtl_lightning.analysis.preferences import MOST, preference_grid


@pytest.mark.parametrize("tasks", range(1, 20))
def test_preferences_cover_each_task_and_hold_the_even_one_once(tasks):
    grid = preference_grid(tasks)
    assert torch.allclose(grid.sum(1), torch.ones(len(grid), dtype=torch.float64))
    assert len(grid.unique(dim=0)) == len(grid) <= max(MOST, tasks) + 1
    for wanted in (*torch.eye(tasks, dtype=torch.float64), torch.full((tasks,), 1 / tasks, dtype=torch.float64)):
        assert torch.isclose(grid, wanted).all(1).sum() == 1
