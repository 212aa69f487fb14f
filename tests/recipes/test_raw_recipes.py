"""Recipes of public logs run from raw files, and say what is missing where there are none."""

import json

import pytest
import raw_logs

from mtl_lightning.cli.app import main
from mtl_lightning.config import compose
from mtl_lightning.data.sources.raw_log import RawLog
from mtl_lightning.plugins import registry

FORMS = {"tenrec_article": "tenrec_article"}
"""Recipes that read another form of a log than its loader's usual one."""

ACCEPTED = {"census_income": ["leak:education:high_income", "leak:num_emp:never_married"]}
"""Findings that look like leaks because a small file has few different rows."""

MORE = {"aliexpress_processed": ("aliexpress", ["source.processed=true", "features=null"])}
"""Further ways to use a recipe, as its comments say."""


def raw_recipes():
    """Recipes whose source reads raw files."""
    for name, entry in registry().entries("recipe"):
        if entry.distribution == "mtl-lightning":
            chosen = compose(name).plain.get("source", {}).get("name")
            if chosen and issubclass(registry().resolve("source", chosen), RawLog):
                yield name, chosen


RECIPES = dict(raw_recipes())


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "400")
    return tmp_path


def run(*arguments):
    """Exit code of a command."""
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return end.value.code or 0


def test_every_raw_log_has_a_recipe():
    logs = {name for name, _ in registry().entries("source") if issubclass(registry().resolve("source", name), RawLog)}
    assert set(RECIPES.values()) == logs


@pytest.mark.parametrize("form", [*RECIPES, *MORE])
def test_a_recipe_runs_from_raw_files(form, directory, capsys):
    name, pairs = MORE.get(form, (form, []))
    files = form if form in raw_logs.WRITERS else FORMS.get(form, RECIPES[name])
    accept = [*compose(name).plain["data"].get("accept", []), *ACCEPTED.get(name, [])]
    common = [f"recipe={name}", f"source.path={raw_logs.written(files)}", *pairs, f"data.accept=[{','.join(accept)}]"]
    small = ["trainer.max_epochs=1", "trainer.accelerator=cpu", "data.batch_size=64", "run.dir=run"]
    code = run("fit", *common, *small)
    shown = capsys.readouterr()
    assert code == 0, shown.err
    tasks = compose(name).plain["tasks"]
    metrics = json.loads((directory / "run" / "metrics.json").read_text())["test"]["metrics"]
    assert {task for task in tasks if any(f"test/{task}/" in metric for metric in metrics)} == set(tasks)
    assert run("data", "inspect", *common, "--json") == 0
    assert json.loads(capsys.readouterr().out)["findings"] is not None


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_missing_is_told(name, capsys):
    assert run("validate", f"recipe={name}") == 0
    assert run("fit", f"recipe={name}", "run.dir=run") == 2
    report = capsys.readouterr().err
    assert compose(name).plain["source"]["path"] in report
    assert "source.path" in report
