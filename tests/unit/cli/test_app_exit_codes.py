"""Exit codes of every command as docs/command_line.md lists them: bad input, failure, interruption."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import command, environment_of
from typer.main import get_command
from warm_python import warm_python

from mtl_lightning.cli.app import build_app
from mtl_lightning.plugins import registry

PAGE = Path(__file__).parents[3] / "docs" / "command_line.md"
SMALL = ("recipe=ads", "source.rows=600", "trainer.accelerator=cpu", "trainer.max_steps=1")
WRONG = {
    "fit": (("recipe=adz",), ("recipe=ads", "trainer.max_epochs=x"), ("--jsn",), ("resume=none",)),
    "test": ((), ("run=none",), ("run=none", "--jsn")),
    "report": ((), ("run=none",), ("run=none", "out=none/x.html")),
    "importance": ((), ("run=none",), ("run=none", "groups=x"), ("run=none", "split=train")),
    "predict": ((), ("run=none", "out=x.parquet"), ("rnu=x",)),
    "export": ((), ("run=none", "out=x"), ("calibrate=maybe",)),
    "serve": ((), ("export=none",), ("export=none", "port=http")),
    "compare": (("recipe=adz",), ("recipe=ads", "architecture=mmmoe"), ("recipe=ads", "--print", "--gather")),
    "tune": (("recipe=ads", "trials=x"), ("recipe=adz", "space.seed=[1,2]")),
    "validate": (("recipe=adz",), ("recipe=ads", "weighter=pcgrd")),
    "recipes list": (("x",),),
    "recipes show": (("adz",), ("ads", "--raw", "--json")),
    "recipes copy": (("adz", "x.yaml"), ("ads",)),
    "select features": ((), ("run=none",), ("run=none", "max_loss=-1"), ("run=none", "verify=maybe")),
    "data fetch": (("simulator",), ("nothing",)),
    "data inspect": (("recipe=adz",), ("recipe=ads", "split.column=tim")),
    "data clean": (("nothing",), ("--cache", "none"), ("--older-than", "x")),
    "plugins": (("--kind", "wieghter"), ("--chek",)),
    "plugins new": (("torch",), ()),
    "doctor": (("x",), ("--jsn",)),
}
"""Arguments that each command refuses."""
STEPS = {
    "fit": (SMALL, "mtl_lightning.cli.fit.plan_run"),
    "test": (("run=x",), "mtl_lightning.cli.test.open_run"),
    "report": (("run=x",), "mtl_lightning.runs.directory.RunDirectory.open"),
    "importance": (("run=x",), "mtl_lightning.cli.importance.open_run"),
    "predict": (("run=x", "out=x.parquet"), "mtl_lightning.cli.predict.open_run"),
    "export": (("run=x", "out=x"), "mtl_lightning.cli.export.open_run"),
    "serve": (("export=x",), "mtl_lightning.serve.server.run"),
    "compare": ((*SMALL, "architecture=mmoe"), "mtl_lightning.cli.compare._prepare"),
    "tune": ((*SMALL, "space.seed=[1,2]"), "mtl_lightning.tune.study.open_study"),
    "validate": (("recipe=ads",), "mtl_lightning.cli.validate.validate"),
    "recipes list": ((), "mtl_lightning.cli.recipes.registry"),
    "recipes show": (("ads",), "mtl_lightning.cli.recipes.compose"),
    "recipes copy": (("ads", "x.yaml"), "mtl_lightning.cli.recipes.recipe_text"),
    "select features": (("run=x",), "mtl_lightning.cli.select.open_run"),
    "data fetch": (("movielens_100k",), "mtl_lightning.config.draft.Draft.component"),
    "data inspect": (("recipe=ads", "source.rows=600"), "mtl_lightning.data.quality.inspection.inspect_log"),
    "data clean": ((), "mtl_lightning.cli.clean.entries"),
    "plugins": ((), "mtl_lightning.cli.plugins._plugins"),
    "plugins new": (("acme-x",), "mtl_lightning.cli.new_plugin.write"),
    "doctor": ((), "mtl_lightning.cli.environment.inspect_environment"),
}
"""Arguments that each command accepts, and a function that it calls with them."""
HANDLED = ("fit", "test", "predict", "compare", "tune")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))


def run_program(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own."""
    return subprocess.run(
        [warm_python(), "-c", program], env=environment_of(folder), capture_output=True, text=True, check=False
    )


def commands() -> Iterator[str]:
    """Names of all commands of this package."""
    for name, item in get_command(build_app()).commands.items():  # type: ignore[attr-defined]
        if getattr(item, "invoke_without_command", True):
            yield name
        yield from (f"{name} {inner}" for inner in getattr(item, "commands", {}))


def test_every_command_is_tested_and_has_its_exit_codes_on_the_page() -> None:
    table = PAGE.read_text().split("## Exit codes")[1].split("##")[0]
    listed = [
        name
        for line in table.splitlines()
        if line.startswith("| `") and line.count("|") == 6
        for name in re.findall("`([a-z ]+)`", line.split("|")[1])
    ]
    own = [name for name in commands() if registry().versions().keys() == {"mtl-lightning"} or name in WRONG]
    assert sorted(listed) == sorted(own) == sorted(WRONG) == sorted(STEPS)


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, as in a terminal: processes in a shell's background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("name", "arguments"), [(name, item) for name, own in WRONG.items() for item in own])
def test_bad_input_ends_with_2(
    name: str, arguments: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*name.split(), *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err
    assert "Traceback" not in captured.err
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == []


@pytest.mark.parametrize("name", STEPS)
def test_exhausted_memory_ends_with_1(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, step = STEPS[name]

    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(step, fail)
    assert command(*name.split(), *arguments) == 1
    assert "error: memory ran out" in capsys.readouterr().err


def test_a_training_that_fails_ends_with_1(tmp_path: Path) -> None:
    program = (
        "from mtl_lightning.cli.app import main\n"
        "from mtl_lightning.training.module import MultiTaskModule\n"
        "MultiTaskModule.validation_step = lambda *_: 1 / 0\n"
        f"main({['fit', *SMALL, 'run.dir=run', '--json']!r})\n"
    )
    done = run_program(program, tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize("name", [name for name in STEPS if name != "serve"])
def test_ctrl_c_ends_with_130(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, step = STEPS[name]
    monkeypatch.setattr(step, lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))
    assert command(*name.split(), *arguments) == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("name", HANDLED)
def test_sigterm_ends_with_143(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, step = STEPS[name]
    monkeypatch.setattr(step, lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    assert command(*name.split(), *arguments) == 143
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name in STEPS if name not in (*HANDLED, "serve")])
def test_sigterm_ends_other_commands_at_once(name: str, tmp_path: Path) -> None:
    arguments, step = STEPS[name]
    module, _, attribute = step.rpartition(".")
    program = (
        "import os, pkgutil, signal\n"
        f"owner = pkgutil.resolve_name({module!r})\n"
        f"setattr(owner, {attribute!r}, lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))\n"
        "from mtl_lightning.cli.app import main\n"
        f"main({[*name.split(), *arguments]!r})\n"
    )
    done = run_program(program, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, "", "")


def test_ctrl_c_while_plugins_load_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtl_lightning.cli.app.registry", lambda: os.kill(os.getpid(), signal.SIGINT))
    assert command("validate", "recipe=ads") == 130
