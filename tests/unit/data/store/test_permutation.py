"""The order as a function: a bijection for every size, evenly distributed, and the same on every machine."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lightning.data.store import permutation
from mtl_lightning.data.store.permutation import Permutation

SMALL_ORDER = [4, 5, 7, 2, 9, 1, 8, 6, 3, 0]
LARGE_ORDER = [637454935376, 59394364163, 565413972850, 274523092020]


@pytest.mark.parametrize("small", [permutation.SMALL, 0])
def test_every_small_size_is_a_bijection(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permutation, "SMALL", small)
    for size in range(501):
        assert np.array_equal(np.sort(Permutation(size, 7, size)(np.arange(size))), np.arange(size))


@settings(max_examples=15, deadline=None)
@given(size=st.integers(2, 300_000), seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 50))
def test_large_sizes_are_bijections(size: int, seed: int, epoch: int) -> None:
    assert np.array_equal(np.sort(Permutation(size, seed, epoch)(np.arange(size))), np.arange(size))


@settings(max_examples=30, deadline=None)
@given(size=st.integers(2**17, 2**62), seed=st.integers(0, 2**32 - 1), part=st.floats(0, 1))
def test_parts_of_any_size_have_different_rows_within_range(size: int, seed: int, part: float) -> None:
    order = Permutation(size, seed)
    start = int(part * (size - 1000))
    rows = order(np.arange(start, start + 1000))
    assert len(rows) == len(set(rows.tolist())) == 1000
    assert int(rows.min()) >= 0
    assert int(rows.max()) < size
    assert rows[300:400].tolist() == order(np.arange(start + 300, start + 400)).tolist()


def test_the_order_is_the_same_on_every_machine() -> None:
    assert Permutation(10, 0, 1)(np.arange(10)).tolist() == SMALL_ORDER
    assert Permutation(10**12, 0, 1)(np.arange(4)).tolist() == LARGE_ORDER


def test_all_orders_of_few_rows_are_as_likely() -> None:
    draws = 2400
    counts = Counter(tuple(Permutation(5, seed, 1)(np.arange(5)).tolist()) for seed in range(draws))
    expected = draws / 120
    squares = sum((counts[order] - expected) ** 2 / expected for order in itertools.permutations(range(5)))
    assert abs(squares - 119) < 4.5 * np.sqrt(2 * 119)


def test_rows_and_neighbours_are_spread_evenly() -> None:
    size, cells = 10**8, 20
    rows = Permutation(size, 3, 1)(np.arange(100_000)) / size
    for later in (1, 2, 1000):  # pairs of positions fall into all cells of a square alike
        counts = np.histogram2d(rows[:-later], rows[later:], bins=cells, range=[[0, 1], [0, 1]])[0]
        expected = (len(rows) - later) / cells**2
        squares = float(((counts - expected) ** 2 / expected).sum())
        assert abs(squares - cells**2) < 4.5 * np.sqrt(2 * cells**2)
    epochs = [Permutation(size, 3, epoch)(np.arange(20_000)) for epoch in (1, 2)]
    assert abs(np.corrcoef(*epochs)[0, 1]) < 0.03


def test_the_number_of_keys_counts() -> None:
    orders = {tuple(Permutation(50, *keys)(np.arange(50)).tolist()) for keys in [(), (0,), (0, 0), (0, 1), (1, 0)]}
    assert len(orders) == 5
