"""Progress of a training in a notebook: a bar that is updated in place, and removed at the end and on errors."""

from typing import Any
from unittest.mock import Mock

import pytest
from lightning.pytorch import Trainer

from mtl_lightning.build import build_module
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.printable import Console
from mtl_lightning.report.training import notebook, terminal

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """HTML of the bar, one entry per update."""
    updates: list[str] = []

    class Handle:
        def update(self, html: Any) -> None:
            updates.append(html._repr_html_())

    def show(html: Any, display_id: bool) -> Handle:
        updates.append(html._repr_html_())
        return Handle()

    monkeypatch.setattr(terminal, "NotebookProgress", lambda: notebook.NotebookProgress(show))
    monkeypatch.setattr(terminal, "Console", _jupyter)
    return updates


def _jupyter(**options: Any) -> Console:
    console = Console(**options)
    console.is_jupyter = True
    console.print = Mock()  # type: ignore[method-assign]
    return console


@pytest.mark.parametrize("quiet", [False, True])
def test_a_notebook_shows_a_bar_unless_it_must_be_quiet(quiet: bool, shown: list[str], tmp_path: Any) -> None:
    rows = {"user": ["a", "b"] * 50, "click": [0, 1, 1, 0] * 25}
    data = DataModule.from_frame(
        rows, features={"user": "categorical"}, tasks={"click": "binary"}, batch_size=10, cache_dir=tmp_path
    )
    callback = terminal.Terminal(refresh_every=2, quiet=quiet)
    Trainer(max_epochs=1, callbacks=[callback], num_sanity_val_steps=0, **QUIET).fit(
        build_module(data.schema), datamodule=data
    )
    if quiet:
        assert shown == []
        return
    assert shown[0].startswith("<progress></progress> training")
    assert any(html.startswith('<progress value="2" max="8"></progress> epoch 1/1 2/8') for html in shown)
    assert shown[-1] == ""


def test_an_error_removes_the_bar(shown: list[str]) -> None:
    callback = terminal.Terminal()
    callback._progress = terminal.NotebookProgress()
    callback._bar = callback._progress.add_task("training", note="")
    callback._progress.start()
    callback.on_exception(None, None, RuntimeError())  # type: ignore[arg-type]
    assert shown[-1] == ""
    assert callback._progress is None
