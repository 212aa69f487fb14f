"""The contract of executors."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mtl_lightning.errors import DataError, MtlError
from mtl_lightning.executors.base import Executor
from mtl_lightning.testing.component import ComponentContract


@dataclass(frozen=True)
class Square:
    """A function that writes down each call, and that parts of some numbers disturb.

    Args:
        folder: Where each call leaves a file.
        trouble: What happens at part 2: ``raise`` and ``kill`` at its first call, ``always`` and ``data`` at each.
    """

    folder: Path
    trouble: str = ""

    def __call__(self, part: int) -> int:
        calls = len(list(self.folder.glob(f"{part}-*")))
        (self.folder / f"{part}-{calls}").touch()
        if part == 2 and self.trouble == "data":
            raise DataError("row 7 is wrong", "clean it")
        if part == 2 and (self.trouble == "always" or (self.trouble and not calls)):
            if self.trouble == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError("the disk is away")
        time.sleep(0.01 * (part % 3 == 0))  # parts don't end in their order
        return part * part


class ExecutorContract(ComponentContract):
    """Tests of an executor. Set ``options`` to some with which two workers run on this machine."""

    def build(self) -> Executor:
        """A fresh executor."""
        executor: Executor = self.construct()
        return executor

    def run(self, function: Any, count: int = 12) -> list[int]:
        """Results for the first numbers as parts."""
        with self.build() as executor:
            return list(executor.map(function, iter(range(count))))

    def test_results_are_in_the_order_of_the_parts(self, tmp_path: Path) -> None:
        with self.build() as executor:
            assert list(executor.map(Square(tmp_path), [])) == []
            assert list(executor.map(Square(tmp_path), range(12))) == [part * part for part in range(12)]
            assert next(executor.map(Square(tmp_path), range(12))) == 0

    def test_a_part_that_fails_is_tried_again(self, tmp_path: Path) -> None:
        assert self.run(Square(tmp_path, "raise")) == [part * part for part in range(12)]
        assert len(list(tmp_path.glob("2-*"))) == 2

    def test_a_dead_worker_loses_nothing(self, tmp_path: Path) -> None:
        if self.component.shares_memory:
            pytest.skip("workers are threads of this process")
        assert self.run(Square(tmp_path, "kill")) == [part * part for part in range(12)]

    def test_a_part_that_always_fails_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(MtlError, match=r"^2 .*the disk is away"):
            self.run(Square(tmp_path, "always"))

    def test_an_error_of_the_data_is_raised_as_it_is_and_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="row 7 is wrong") as caught:
            self.run(Square(tmp_path, "data"))
        assert caught.value.hint == "clean it"
        assert len(list(tmp_path.glob("2-*"))) == 1
