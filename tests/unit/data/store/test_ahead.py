"""Work ahead of its use: in order, within its depth, and ended by errors and by consumers that stop."""

import threading
from collections.abc import Iterator

import pytest

from mtl_lightning.data.store.ahead import run_ahead


def alive() -> int:
    return sum(thread.name.startswith("ahead") for thread in threading.enumerate())


def items(count: int, given: list[int]) -> Iterator[int]:
    for item in range(count):
        given.append(item)
        yield item


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_results_come_in_order_and_few_are_ahead(depth: int) -> None:
    given: list[int] = []
    for place, result in enumerate(run_ahead(lambda item: -item, items(9, given), depth)):
        assert result == -place
        assert len(given) == min(place + 1 + depth, 9)
    assert not alive()


def test_a_thread_computes_while_a_result_is_in_use() -> None:
    """The second call waits for the consumer of the first result, which waits for the second call."""
    used, computed = threading.Event(), threading.Event()

    def work(item: int) -> int:
        if item == 1:
            assert used.wait(30)
            computed.set()
        return item

    results = run_ahead(work, range(2), 1)
    assert next(results) == 0
    used.set()
    assert computed.wait(30)
    assert list(results) == [1]


def test_an_error_comes_in_its_place_and_ends_the_thread() -> None:
    calls = []

    def divide(item: int) -> float:
        calls.append(item)
        return 1 / (item - 3)

    results = run_ahead(divide, range(100), 4)
    assert [next(results) for _ in range(3)] == [1 / -3, 1 / -2, 1 / -1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not alive()
    assert len(calls) <= 8


def test_a_consumer_that_stops_ends_the_thread() -> None:
    calls: list[int] = []
    results = run_ahead(calls.append, range(100), 4)
    next(results)
    assert alive()
    results.close()
    assert not alive()
    assert len(calls) <= 6
