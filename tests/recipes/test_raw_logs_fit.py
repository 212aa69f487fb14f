"""Every public log from its raw files through ``fit`` to a table of the test split."""

import json
import subprocess

import pytest
import raw_logs
from warm_python import warm_python

from mtl_lightning.cli.app import main
from mtl_lightning.plugins import registry

MORE = {
    "aliexpress_processed": ("aliexpress", ["source.processed=true"]),
    "tenrec_article": ("tenrec", ["source.scenario=qk_article"]),
}
"""Further forms of a log: its loader, and the options that read them."""

BY_TIME = ("mind",)
"""Logs whose own test split has no labels."""

ACCEPTED = {"census_income": ["leak:education:high_income", "leak:num_emp:never_married"]}
"""Findings that look like leaks because a small file has few different rows."""

RECIPE = """
extends: base
encoder: {width: 4}
architecture: {name: shared_bottom, hidden: [16]}
optimizer: {lr: 0.01}
data: {batch_size: 64}
trainer: {max_epochs: 1, accelerator: cpu}
"""


def arguments(form):
    """The command that fits one form of a log: features and tasks are those that the source suggests."""
    name, options = MORE.get(form, (form, []))
    schema = registry().resolve("source", name)(path=str(raw_logs.written(form))).schema()
    split = (
        ["split=given"] if schema.splits and name not in BY_TIME else [f"split={'time' if schema.time else 'random'}"]
    )
    path = f"source.path={raw_logs.written(form)}"
    accept = f"data.accept=[{','.join(ACCEPTED.get(form, ()))}]"
    return ["fit", "recipe=small.yaml", f"source={name}", path, *options, *split, accept, "run.dir=run"]


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "small.yaml").write_text(RECIPE)
    return tmp_path


def table(text):
    """Tasks of the printed table of the test split."""
    return {line.split()[0] for line in text[text.index("Test, ") :].splitlines() if line.strip()}


@pytest.mark.parametrize("form", raw_logs.WRITERS)
def test_raw_files_become_a_table(form, directory, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments(form))
    shown = capsys.readouterr()
    assert not end.value.code, shown.err
    schema = json.loads((directory / "run" / "schema.json").read_text())
    tasks = {task["name"] for task in schema["tasks"]}
    assert tasks <= table(shown.out)
    metrics = json.loads((directory / "run" / "metrics.json").read_text())["test"]["metrics"]
    for task in tasks:
        assert any(value is not None for name, value in metrics.items() if name.startswith(f"test/{task}/")), task


def test_in_a_process_of_its_own(directory):
    done = subprocess.run(
        [warm_python(), "-m", "mtl_lightning", *arguments("kuairand")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {"is_click", "score"} & table(done.stdout)
