"""Pages of the data path: their snippets run, and they name every kind, option, function and way to split."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtl_lightning.data.expressions.functions import FUNCTIONS
from mtl_lightning.data.features.build import build_features, option_name
from mtl_lightning.data.preparation.split import ASSIGN, SplitSpec
from mtl_lightning.data.quality.drift import LARGE, MODERATE
from mtl_lightning.data.quality.findings import acceptable
from mtl_lightning.data.quality.gate import SAMPLE as FIT_SAMPLE
from mtl_lightning.data.quality.inspection import SAMPLE
from mtl_lightning.data.quality.leaks import BINS, FEWEST, SERIOUS, WARNING
from mtl_lightning.data.targets.labels import Label
from mtl_lightning.data.targets.tasks import build_tasks
from mtl_lightning.plugins import registry
from mtl_lightning.plugins.builtin import FEATURES
from mtl_lightning.schema import TASK_KINDS

PAGES = Path(__file__).parents[2] / "docs" / "data"


def page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def snippets(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page(name), re.DOTALL)


def recipe(name: str) -> dict[str, Any]:
    return yaml.safe_load(snippets(name, "yaml")[0])


def test_features() -> None:
    built = build_features(recipe("features")["features"])
    assert {item.kind for item in built.values()} == set(FEATURES)
    for kind in FEATURES:
        record = registry().resolve("feature", kind)
        text = page("histories" if kind == "history" else "features")
        section = text.split(f"<!-- options {kind} -->" if kind != "history" else "<!-- options -->")[1]
        options = [option_name(field.name) for field in dataclasses.fields(record)]
        assert re.findall(r"^\| `(\w+)` \|", section.split("<!-- /options -->")[0], re.MULTILINE) == options


def test_histories() -> None:
    features = build_features(recipe("histories")["features"])
    history = features["watched"]
    options = [option_name(field.name) for field in dataclasses.fields(history)]
    assert [option for option in options if f"| `{option}`" not in page("histories")] == []
    request = json.loads(snippets("histories", "json")[0])
    assert set(request["context"]["watched"]) == set(history.event_columns("watched")) - {"user_id"}
    assert set(request["context"]) == set(history.request_columns("watched"))


def test_labels() -> None:
    tasks = build_tasks(recipe("labels")["tasks"])
    assert {task.kind for task in tasks} == set(TASK_KINDS)
    assert all(Label(task).columns for task in tasks)
    assert [name for name in FUNCTIONS if f"`{name}`" not in page("labels")] == []


def test_splits() -> None:
    assert SplitSpec(**recipe("splits")["split"]).by == "time"
    assert [by for by in (*ASSIGN, "given") if f"| `{by}` |" not in page("splits")] == []
    assert [field.name for field in dataclasses.fields(SplitSpec) if f"`{field.name}" not in page("splits")] == []


def test_quality(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MTL_CACHE", str(tmp_path))
    (code,) = snippets("quality", "python")
    exec(compile(code, "docs/data/quality.md", "exec"), {})
    assert capsys.readouterr().out.strip() in code
    accepted = recipe("quality")["data"]["accept"]
    assert set(accepted) <= set(acceptable(["article_id"], ["tags"]))
    kinds = {name.partition(":")[0] for name in acceptable(["x"], ["y"])}
    assert [kind for kind in kinds if f"| `{kind}:" not in page("quality")] == []
    numbers = (WARNING, SERIOUS, MODERATE, LARGE, f"{SAMPLE:,}", f"{FIT_SAMPLE:,}", FEWEST, BINS)
    assert [number for number in numbers if str(number) not in page("quality")] == []


def test_preparation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MTL_CACHE", str(tmp_path))
    (code,) = snippets("preparation", "python")
    exec(compile(code, "docs/data/preparation.md", "exec"), {})
    promised = [comment.split(": ")[0] if ":" in comment and comment[0] != "{" else comment
                for comment in re.findall(r"\)  # (.*)", code) if not comment.startswith("a pandas")]  # fmt: skip
    assert capsys.readouterr().out.splitlines() == promised
