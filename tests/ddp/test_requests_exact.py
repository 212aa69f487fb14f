"""Two processes with whole requests each train the weights of one, and requests change no weight."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from launch import HERE, launch
from requests_run import ENCODERS, REQUEST, data, train


@pytest.fixture(autouse=True)
def kind():
    yield
    torch.set_default_dtype(torch.float32)


def test_requests_are_exact_across_processes(tmp_path):
    launch([str(HERE / "requests_run.py"), str(tmp_path / "cache"), str(tmp_path / "out")], world=2)
    ranks = [torch.load(tmp_path / f"out.{rank}") for rank in range(2)]
    for i, encoder in enumerate(ENCODERS):
        alone = train(data(str(tmp_path / "cache"), REQUEST, 24), encoder)
        for rank in range(2):
            torch.testing.assert_close(ranks[rank][i], alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: encoder["name"])
def test_requests_change_no_weight(encoder, tmp_path):
    flat = data(str(tmp_path), REQUEST, 24)
    loader = flat.loader
    flat.loader = lambda *arguments, **options: Expanded(loader(*arguments, **options))
    expected = train(flat, encoder)
    torch.testing.assert_close(train(data(str(tmp_path), REQUEST, 24), encoder), expected, rtol=1e-9, atol=1e-9)


class Expanded:
    """The batches of a loader without requests."""

    def __init__(self, loader):
        self.loader = loader

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        return (batch.expand() for batch in self.loader)
