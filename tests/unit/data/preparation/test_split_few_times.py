"""Splits by time where times are few: no part stays empty, or the split is refused with their number."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mtl_lightning import DataModule
from mtl_lightning.cli.app import main
from mtl_lightning.data.preparation.split import SplitSpec, assign
from mtl_lightning.errors import DataError


def counts(days: list[int], **shares: float) -> list[int]:
    """Rows of train, validation and test, for so many rows on each day."""
    times = np.random.default_rng(0).permutation(np.repeat(np.arange(len(days)), days))
    assigned = assign(SplitSpec(by="time", column="day", **shares), [pa.table({"day": times})])
    for early, late in ((0, 1), (1, 2), (0, 2)):
        if (assigned == early).any() and (assigned == late).any():
            assert times[assigned == early].max() < times[assigned == late].min()
    return np.bincount(assigned, minlength=3).tolist()


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ([60] * 5, [180, 60, 60]),
        ([100, 100, 100], [100, 100, 100]),
        ([900, 50, 50], [900, 50, 50]),
        ([5, 5, 990], [5, 5, 990]),
        ([990, 5, 5], [990, 5, 5]),
        ([85, 10, 5], [85, 10, 5]),
        ([10] * 10, [80, 10, 10]),
        ([1] * 100, [80, 10, 10]),
    ],
)
def test_each_part_has_a_time_of_its_own(days: list[int], expected: list[int]) -> None:
    assert counts(days) == expected


def test_parts_that_are_not_asked_for_stay_empty() -> None:
    assert counts([60] * 5, validation=0.0) == [240, 0, 60]
    assert counts([60, 60], validation=0.0) == [60, 0, 60]
    assert counts([60, 60], test=0.0) == [60, 60, 0]
    assert counts([60], validation=0.0, test=0.0) == [60, 0, 0]


@pytest.mark.parametrize(
    ("days", "shares", "message"),
    [
        ([60, 60], {}, "'day' has 2 distinct times, and train, validation and test need 3"),
        ([60], {}, "'day' has 1 distinct time, and train, validation and test need 3"),
        ([60], {"test": 0.0}, r"'day' has 1 distinct time, and train and validation need 2.*split.validation=0\)"),
        ([60], {"validation": 0.0}, r"'day' has 1 distinct time, and train and test need 2.*split.test=0\)"),
    ],
)
def test_fewer_times_than_parts_are_refused(days: list[int], shares: dict[str, float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        counts(days, **shares)


def test_the_number_of_times_is_said_where_boundaries_move(caplog: pytest.LogCaptureFixture) -> None:
    counts([10] * 10)
    assert not caplog.records
    counts([60] * 5)
    assert "the time column 'day' has 5 distinct times" in caplog.text


def test_a_module_of_few_days_has_validation_rows(tmp_path: Path) -> None:
    rows = {
        "day": np.repeat(["2024-05-01", "2024-05-02", "2024-05-03"], 40),
        "user": ["a", "b"] * 60,
        "click": [0, 1, 1, 0] * 30,
    }
    data = DataModule.from_frame(
        rows, features={"user": "categorical"}, tasks={"click": "binary"},
        split={"by": "time", "column": "day"}, cache_dir=tmp_path,
    )  # fmt: skip
    assert {name: len(store) for name, store in data.prepare().stores.items()} == {
        "train": 40, "validation": 40, "test": 40,
    }  # fmt: skip


RECIPE = """
extends: base
source: {name: table, path: log.csv}
features: {user: categorical}
tasks: {click: {kind: binary, label: click}}
encoder: {width: 2}
architecture: {name: shared_bottom, hidden: [2]}
data: {batch_size: 64}
trainer: {accelerator: cpu}
"""


def fit(folder: Path, rows: list[tuple[str, int, int]], *pairs: str) -> int:
    """Exit code of a run on rows of user, day and click."""
    (folder / "log.csv").write_text("user,day,click\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows))
    (folder / "recipe.yaml").write_text(RECIPE)
    with pytest.raises(SystemExit) as end:
        main(["fit", "recipe=recipe.yaml", "run.dir=run", *pairs])
    return int(end.value.code or 0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_a_run_without_validation_rows_says_that_nothing_selects_the_model(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(f"u{i % 7}", i // 20, i % 3 % 2) for i in range(100)]
    assert fit(folder, rows, "split.validation=0", "trainer.max_epochs=1") == 0
    assert "no validation rows: nothing selects the model" in capsys.readouterr().out


@pytest.mark.parametrize("patience", [1, 2])
def test_patience_does_not_count_undefined_scores(
    folder: Path, patience: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(f"u{i % 7}", i // 20, i % 3 % 2 if i < 80 else 0) for i in range(100)]  # no click on the last day
    split = "split={by: time, column: day, test: 0, validation: 0.2}"
    with pytest.warns(UserWarning, match="validation/score is undefined: it selects no weights, and run.patience"):
        assert fit(folder, rows, split, f"run.patience={patience}", "trainer.max_epochs=4") == 0
    assert len(json.loads((folder / "run" / "metrics.json").read_text())["validations"]) == 4
    assert "stopped after" not in capsys.readouterr().out
    assert not (folder / "run" / "checkpoints" / "best.ckpt").exists()


@pytest.mark.parametrize("by", ["random", "time"])
def test_a_random_split_with_histories_is_warned_of(folder: Path, by: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(f"u{i % 7}", i // 10, i % 3 % 2) for i in range(200)]
    split = {"random": "split={by: random}", "time": "split={by: time, column: day}"}[by]
    history = "features.before={kind: history, by: user, time: day, of: user}"
    assert fit(folder, rows, split, history, "trainer.max_epochs=1") == 0
    warned = "enter histories of training rows" in " ".join(capsys.readouterr().out.split())
    assert warned == (by == "random")
