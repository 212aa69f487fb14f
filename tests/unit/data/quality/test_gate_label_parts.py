"""Features that read what a label is made of: what an error advises is what ``validate`` and ``fit`` take."""

from pathlib import Path

import numpy as np
import pytest
from commands import command

from mtl_lightning import DataModule
from mtl_lightning.data.quality.gate import check
from mtl_lightning.data.quality.inspection import inspect_log
from mtl_lightning.errors import DataError

RNG = np.random.default_rng(0)
ROWS = 200
LOG = {
    "user": RNG.integers(0, 9, ROWS),
    "price": RNG.random(ROWS).round(3) * 400,
    "watch": RNG.random(ROWS).round(3),
    "duration": RNG.random(ROWS).round(3),
}
RECIPE = """
extends: base
source: {name: table, path: log.csv}
features: {user: categorical}
tasks: {buy: {kind: binary, label: price > 200}}
encoder: {width: 2}
architecture: {name: shared_bottom, hidden: [2]}
data: {batch_size: 64}
trainer: {accelerator: cpu, max_epochs: 1}
"""
PRICE, WATCH = "features.price=numeric", "features.watch=numeric"
SEEN = "tasks.buy.label=watch > 0.5 * duration"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    lines = [",".join(LOG), *(",".join(map(str, row)) for row in zip(*LOG.values(), strict=True))]
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


@pytest.mark.parametrize("verb", ["validate", "fit"])
@pytest.mark.parametrize(
    ("pairs", "leak"),
    [
        ((PRICE,), "leak:price:buy"),
        ((WATCH, SEEN), "leak:watch:buy"),
        (("features.p={kind: numeric, column: price}",), "leak:p:buy"),
    ],
)
def test_what_the_error_advises_is_taken(
    verb: str, pairs: tuple[str, ...], leak: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(verb, "recipe=recipe.yaml", *pairs) == 2
    assert f"data.accept=[{leak}] if it is known before" in capsys.readouterr().err
    assert command(verb, "recipe=recipe.yaml", *pairs, f"data.accept=[{leak}]") == 0


@pytest.mark.parametrize("verb", ["validate", "fit"])
@pytest.mark.parametrize("label", ["price", "`price`"])
def test_a_label_itself_is_never_accepted(verb: str, label: str) -> None:
    pairs = (PRICE, f"tasks.buy={{kind: regression, label: {label!r}}}", "data.accept=[leak:price:buy]")
    assert command(verb, "recipe=recipe.yaml", *pairs) == 2


def module(label: str, *accept: str) -> DataModule:
    return DataModule.from_frame(
        LOG, features={"user": "categorical", "watch": "numeric", "price": "numeric"},
        tasks={"buy": {"kind": "binary", "label": label}}, accept=accept,
    )  # fmt: skip


def test_rows_in_memory_take_what_is_accepted() -> None:
    with pytest.raises(DataError, match=r"features.price: reads 'price'.*accept \[leak:price:buy\]"):
        module("price > 200").prepare()
    with pytest.raises(DataError, match=r"features.price: reads 'price'"):
        module("price > 200", "leak:user:buy").prepare()
    assert len(module("price > 200", "leak:price:buy").prepare().stores["train"]) == 160


@pytest.mark.parametrize(
    ("label", "names"),
    [
        ("watch > 0.5 * duration", ["leak:watch:buy"]),
        ("watch > 0.5 * duration and price > 100", ["leak:watch:buy", "leak:price:buy"]),
        ("duration > 0.5 and user > 4", ["leak:user:buy"]),
    ],
)
def test_a_part_of_a_label_is_one_finding(label: str, names: list[str]) -> None:
    data = module(label)
    findings = check(data.prepare())
    assert [(finding.name, finding.level) for finding in findings] == [(name, "serious") for name in names]
    assert label in findings[0].reason
    listed = {
        item["name"]: item["accepted"]
        for item in inspect_log(data, names[:1])["findings"]
        if item["level"] == "serious"
    }
    assert listed == {name: name == names[0] for name in names}


def test_a_label_of_other_columns_draws_no_finding() -> None:
    assert not check(module("duration > 0.5").prepare())
