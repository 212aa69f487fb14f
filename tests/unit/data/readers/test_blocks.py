"""Blocks are made one ahead of their use: same order, same errors, nothing left running."""

import threading
from itertools import count

import pytest

from mtl_lightning.data.readers.blocks import prefetch


def test_the_next_item_is_made_while_one_is_used():
    begun = threading.Event()

    def items():
        yield 1
        begun.set()
        yield 2

    result = prefetch(items())
    assert next(result) == 1
    assert begun.wait(10)  # without anyone asking for the second
    assert list(result) == [2]


def test_an_error_comes_where_its_item_would():
    def items():
        yield 1
        raise ValueError("cut off")

    result = prefetch(items())
    assert next(result) == 1
    with pytest.raises(ValueError, match="cut off"):
        next(result)


def test_at_most_one_item_is_made_in_advance_and_the_thread_ends_with_the_loop():
    created: list[int] = []
    before = threading.active_count()
    for item in prefetch(created.append(i) or i for i in count()):
        if item == 3:
            break
    del item
    assert created in ([0, 1, 2, 3], [0, 1, 2, 3, 4])
    assert threading.active_count() == before
