"""The contract of launchers."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from mtl_lightning.errors import DataError
from mtl_lightning.launchers.base import Launcher, LaunchError
from mtl_lightning.testing.component import ComponentContract, copy_by_pickle


@dataclass(frozen=True)
class Note:
    """A function that each process of a run calls: it writes down its rank, and adds the ranks of all.

    Args:
        folder: Where each process leaves a file.
        trouble: ``data`` raises an error of the data, ``code`` another one.
    """

    folder: Path
    trouble: str = ""

    def __call__(self) -> None:
        rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        total = torch.tensor([rank])
        if world > 1:
            dist.all_reduce(total)
        (self.folder / f"{rank}-{len(list(self.folder.glob(f'{rank}-*')))}").write_text(
            f"{world} {int(total)} {Path.cwd()}"
        )
        if self.trouble == "data":
            raise DataError("row 7 is wrong", "clean it")
        if self.trouble == "code":
            raise OSError("the disk is away")


class LauncherContract(ComponentContract):
    """Tests of a launcher. Set ``options`` to some with which two processes run on this machine."""

    def build(self) -> Launcher:
        """A fresh launcher."""
        launcher: Launcher = copy_by_pickle(self.construct())
        return launcher

    def test_two_processes_form_a_group_in_the_directory_of_the_caller(self, tmp_path: Path) -> None:
        self.build().launch(Note(tmp_path), tmp_path / "run", 60.0)
        notes = {file.name: file.read_text() for file in tmp_path.iterdir() if file.is_file()}
        assert notes == {f"{rank}-0": f"2 1 {Path.cwd()}" for rank in range(2)}

    def test_an_error_of_the_data_is_raised_as_it_is_and_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="row 7 is wrong") as caught:
            self.build().launch(Note(tmp_path, "data"), tmp_path / "run", 60.0)
        assert caught.value.hint == "clean it"
        assert len(list(tmp_path.glob("0-*"))) == 1

    def test_a_process_that_always_fails_ends_the_run(self, tmp_path: Path) -> None:
        with pytest.raises(LaunchError, match="the disk is away"):
            self.build().launch(Note(tmp_path, "code"), tmp_path / "run", 60.0)
