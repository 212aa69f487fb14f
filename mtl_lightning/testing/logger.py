"""The contract of loggers."""

from pathlib import Path
from typing import ClassVar

import pytest

from mtl_lightning.loggers.base import RunLogger
from mtl_lightning.testing.component import ComponentContract, copy_by_pickle


class LoggerContract(ComponentContract):
    """Tests of a logger. Set ``options`` to some with which it needs no server."""

    context: ClassVar[int] = 1

    def build(self, directory: Path) -> RunLogger:
        """A fresh logger of a run."""
        logger: RunLogger = self.construct(directory)
        return logger

    def test_a_run_that_never_trains_leaves_nothing(self, tmp_path: Path) -> None:
        logger = self.build(tmp_path / "shop" / "monday")
        assert isinstance(logger.name, str)
        assert not (tmp_path / "shop").exists()

    def test_a_spawned_process_gets_a_copy(self, tmp_path: Path) -> None:
        copy = copy_by_pickle(self.build(tmp_path))
        assert isinstance(copy, self.component)

    def test_values_files_and_the_end_of_a_run_are_accepted(self, tmp_path: Path) -> None:
        if self.component.needs is not None:
            pytest.importorskip(self.component.needs)
        page = tmp_path / "page.html"
        page.write_text("<p>a page</p>")
        logger = self.build(tmp_path)
        logger.log_hyperparams({"trainer": {"max_epochs": 2}, "weighter": {"name": "sum"}})
        for step in (1, 2):
            logger.log_metrics({"train/loss/click": 0.5, "validation/click/auc": float("nan")}, step)
        logger.log_files({"reports/page.html": page})
        logger.close("success")
        assert page.is_file()
