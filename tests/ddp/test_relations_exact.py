"""Two processes see the relations of one: look-ahead steps, labels, predictions and gates, to the last digits."""

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from launch import HERE, launch
from relations_run import results


def flat(value, name=""):
    """Numbers by their place."""
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list):
        pairs = list(enumerate(value))
    else:
        return {name: value}
    return {place: number for key, item in pairs for place, number in flat(item, f"{name}/{key}").items()}


@pytest.fixture
def double():
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double")
def test_relations_are_exact_across_processes(tmp_path):
    launch([str(HERE / "relations_run.py"), str(tmp_path / "out")], world=2)
    alone = flat(results(0, 1))
    assert alone["/affinity/samples"] == 3
    assert alone["/test/gates/click/rows"] == 3 * 47
    for rank in range(2):
        shared = flat(json.loads((tmp_path / f"out.{rank}").read_text()))
        assert shared.keys() == alone.keys()
        for place, number in alone.items():
            exact = isinstance(number, str) or number is None  # gates are kept in single precision
            assert shared[place] == (number if exact else pytest.approx(number, rel=1e-6, abs=1e-7)), place
