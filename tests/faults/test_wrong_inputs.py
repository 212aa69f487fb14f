"""Mistakes of users are reported by place, with exit code 2, and nothing is left behind or written over."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

RECIPE = """
extends: base
source: {name: table, path: log.parquet}
features: {user: categorical, price: numeric}
tasks:
  click: {kind: binary, label: click}
data: {batch_size: 64}
trainer: {max_epochs: 1, accelerator: cpu}
"""


def columns(rows: int = 400) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "user": [f"u{i}" for i in rng.integers(0, 20, rows)],
        "price": rng.random(rows),
        "click": rng.integers(0, 2, rows),
    }


@pytest.fixture
def log(tmp_path: Path) -> Any:
    """Writes the log and the recipe."""

    def write(recipe: str = RECIPE, **changed: Any) -> None:
        (tmp_path / "mine.yaml").write_text(recipe, encoding="utf-8")
        pq.write_table(pa.table({**columns(), **changed}), tmp_path / "log.parquet")

    return write


def assert_refused(tmp_path: Path, result: Any, *words: str) -> None:
    assert result.returncode == 2, result.stdout + result.stderr
    shown = result.stdout + result.stderr
    assert "Traceback" not in shown
    for word in words:
        assert word in shown
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("weighter=pcgrd", ("weighter", "pcgrad")),
        ("weighter.epz=1", ("weighter.epz",)),
        ("trainer.max_epoch=1", ("trainer.max_epoch", "max_epochs")),
        ("data.batch_size=many", ("data.batch_size", "integer")),
        ("features.user.kind=categoricl", ("features.user.kind", "categorical")),
        ("features.cost={kind: numeric}", ("cost",)),
        ("tasks.click.label=clik", ("clik", "click")),
        ("tasks.click.kind=binry", ("tasks.click.kind", "binary")),
        ("source.path=gone.parquet", ("gone.parquet",)),
        ("trainer.strategy=fsdp", ("trainer.strategy", "FSDP")),
        ("trainer.precision=banana", ("precision",)),
        ("run.dir=taken", ("taken", "not empty")),
    ],
)
def test_wrong_settings(tmp_path: Path, inside: Any, log: Any, pair: str, words: tuple[str, ...]) -> None:
    log()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("precious")
    assert_refused(tmp_path, inside("fit", "recipe=./mine.yaml", pair), *words)
    assert (tmp_path / "taken" / "thesis.txt").read_text() == "precious"
    assert len(list((tmp_path / "taken").iterdir())) == 1


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"click": pa.nulls(400, pa.int64())}, ("click",)),
        ({"click": np.zeros(400, dtype=np.int64)}, ("click",)),
        ({"price": np.where(np.arange(400) == 7, np.inf, 1.0)}, ("price", "inf")),
        ({"price": ["cheap"] * 400}, ("price",)),
        ({"click": ["yes"] * 400}, ("click",)),
    ],
    ids=["all-null label", "constant label", "infinite number", "text as number", "text as label"],
)
def test_wrong_data(tmp_path: Path, inside: Any, log: Any, changed: dict[str, Any], words: tuple[str, ...]) -> None:
    log(**changed)
    assert_refused(tmp_path, inside("fit", "recipe=./mine.yaml"), *words)


def test_everything_wrong_is_told_at_once(tmp_path: Path, inside: Any, log: Any) -> None:
    log()
    result = inside("fit", "recipe=./mine.yaml", "weighter=pcgrd", "data.batch_size=0", "trainer.max_epoch=1")
    assert_refused(tmp_path, result, "3 problems", "weighter", "batch_size", "max_epoch")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"not parquet", ("log.parquet",)), (b"PAR1", ("log.parquet",)), (b"", ("log.parquet",))],
    ids=["text", "cut off", "empty"],
)
def test_unreadable_files(tmp_path: Path, inside: Any, log: Any, content: bytes, words: tuple[str, ...]) -> None:
    log()
    (tmp_path / "log.parquet").write_bytes(content)
    assert_refused(tmp_path, inside("fit", "recipe=./mine.yaml"), *words)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [("tasks: [", ("mine.yaml", "line")), ("- a", ("mine.yaml",)), ("extends: bse", ("bse", "base"))],
)
def test_unreadable_recipes(tmp_path: Path, inside: Any, log: Any, recipe: str, words: tuple[str, ...]) -> None:
    log(recipe=recipe)
    assert_refused(tmp_path, inside("fit", "recipe=./mine.yaml"), *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fit", "resume=nowhere"), ("nowhere", "no run directory")),
        (("fit", "resume=empty"), ("empty", "config.yaml")),
        (("fit", "resume=empty", "recipe=ads"), ("not both",)),
        (("test", "run=nowhere"), ("nowhere",)),
        (("test",), ("run=",)),
        (("predict", "run=nowhere", "out=x.parquet"), ("nowhere",)),
        (("fit", "recipe=adz"), ("adz", "ads")),
        (("fit", "recipe"), ("key=value",)),
    ],
)
def test_wrong_arguments(tmp_path: Path, inside: Any, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    (tmp_path / "empty").mkdir()
    assert_refused(tmp_path, inside(*arguments), *words)


def test_a_process_of_its_own_ends_the_same_way(tmp_path: Path, cli: Any, log: Any) -> None:
    log(click=pa.nulls(400, pa.int64()))
    assert_refused(tmp_path, cli("fit", "recipe=./mine.yaml"), "click")
    assert_refused(tmp_path, cli("fit", "recipe=./mine.yaml", "weighter=pcgrd"), "pcgrad")
