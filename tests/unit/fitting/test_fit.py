"""``mtl_lightning.fit``: one call from Python does what the command does."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from warm_python import warm_python

import mtl_lightning
from mtl_lightning.errors import ConfigError, MtlError
from mtl_lightning.fitting import run as conductor
from mtl_lightning.fitting import steps
from mtl_lightning.fitting.failures import TrainingError
from mtl_lightning.runs.checkpoint import AtomicCheckpointIO

SMALL = {
    "source": {"rows": 900},
    "data": {"batch_size": 64},
    "trainer": {"accelerator": "cpu", "max_epochs": 1},
    "run": {"checkpoint_every": 2},
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTL_CACHE", str(tmp_path_factory.getbasetemp() / "fitting-cache"))
    return tmp_path


def handlers() -> list[Any]:
    return [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]


def test_the_result_is_what_the_run_directory_records(capfd: pytest.CaptureFixture[str]) -> None:
    before = handlers()
    result = mtl_lightning.fit("ads", "architecture=ple", weighter="sum", **SMALL)
    assert handlers() == before
    printed = capfd.readouterr().out
    assert "Validation, epoch 1/1" in printed
    assert "Test, best.ckpt" in printed
    recorded = json.loads((result.run.path / "metrics.json").read_text())["test"]
    assert {
        f"test/{task}/{name}": value for task, values in result.metrics.items() for name, value in values.items()
    }.items() <= recorded["metrics"].items()
    assert set(result.metrics) == {"click", "conversion", "dwell"}
    assert result.score == recorded["metrics"]["test/score"]
    assert result.module.config["weighter"]["name"] == "sum"
    saved = AtomicCheckpointIO().load_checkpoint(result.run.best)["state_dict"]
    state = result.module.state_dict()
    assert all(torch.equal(state[name], value) for name, value in saved.items())
    assert not result.module.training
    batch = next(iter(result.data.loader("test")))
    with torch.inference_mode():
        assert result.module.network(batch)["click"].shape == (len(batch),)


def test_the_same_settings_in_every_form_are_the_same_configuration(folder: Path) -> None:
    file = folder / "mine.yaml"
    file.write_text("extends: ads\nweighter: pcgrad\nsource: {rows: 900}\n")
    once = {"trainer": {"accelerator": "cpu", "max_steps": 1}, "run": {"test": False}}
    content = {"extends": "ads", "weighter": "pcgrad", "source": {"rows": 900}}
    results = [
        mtl_lightning.fit("ads", "weighter=pcgrad", "source.rows=900", quiet=True, **once),
        mtl_lightning.fit("ads", weighter="pcgrad", source={"rows": 900}, quiet=True, **once),
        mtl_lightning.fit(file, quiet=True, **once),
        mtl_lightning.fit(content, quiet=True, **once),
    ]
    assert len({result.run.config_file.read_text() for result in results}) == 1
    assert [result.run.path.parent.name for result in results] == ["ads", "ads", "mine", "ads"]
    assert all(result.metrics == {} for result in results)


def test_quiet_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    mtl_lightning.fit("ads", quiet=True, **SMALL)
    captured = capfd.readouterr()
    assert captured.out == ""


class Interrupt(Callback):
    """Sends a signal to this process while it trains."""

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 3:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_saves_and_resume_continues(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    whole = mtl_lightning.fit("ads", quiet=True, **SMALL)
    original = conductor.observers
    with monkeypatch.context() as patch:
        patch.setattr(conductor, "observers", lambda *args, **options: [Interrupt(), *original(*args, **options)])
        with pytest.raises(KeyboardInterrupt):
            mtl_lightning.fit("ads", "run.dir=stopped", **SMALL)
    assert "Saved in stopped/checkpoints/last.ckpt" in capfd.readouterr().out
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    resumed = mtl_lightning.resume("stopped", quiet=True)
    assert resumed.metrics == whole.metrics
    opened = mtl_lightning.resume(resumed.run, quiet=True)
    assert opened.metrics == whole.metrics
    assert json.loads((opened.run.path / "metrics.json").read_text())["test"]["evaluations"] == 1
    further = mtl_lightning.resume("stopped", quiet=True, trainer={"max_epochs": 2})
    assert len(json.loads((further.run.path / "metrics.json").read_text())["validations"]) == 2


def test_a_failure_is_an_error_that_says_how_to_continue(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(steps, "train", full)
    before = handlers()
    with pytest.raises(TrainingError, match="training failed: memory ran out") as failed:
        mtl_lightning.fit("ads", "run.dir=failed", quiet=True, **SMALL)
    assert failed.value.hint.endswith("python -m mtl_lightning fit resume=failed")
    assert isinstance(failed.value, MtlError)
    assert handlers() == before
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (("seed=3",), {}, "the first argument is a recipe, not 'seed=3'"),
        (("ads", "weighter=pcgrd"), {}, "no weighter is called 'pcgrd'"),
        (("ads", "resume=runs/x"), {}, "resume= is not a setting"),
        (("ads",), {"resume": "runs/x"}, "resume= is not a setting"),
        (("ads",), {"seed": {1, 2}}, "seed: a value is a set"),
        (("ads",), {"trainer": {"max_epochs": "x"}}, "max_epochs: expects an integer"),
        (({"extends": "ads", "seed": object()},), {}, "the recipe's mapping: "),
        ((), {}, "no recipe is given"),
    ],
)
def test_wrong_arguments_are_errors_and_nothing_is_written(
    folder: Path, arguments: Any, settings: Any, message: str
) -> None:
    with pytest.raises((MtlError, ConfigError), match=message):
        mtl_lightning.fit(*arguments, **settings)
    assert list(folder.iterdir()) == []


def test_a_thread_can_train() -> None:
    scores: list[float] = []
    thread = threading.Thread(target=lambda: scores.append(mtl_lightning.fit("ads", quiet=True, **SMALL).score))
    thread.start()
    thread.join()
    assert len(scores) == 1


def test_torch_is_imported_by_the_first_use_only() -> None:
    code = (
        "import sys, mtl_lightning; assert 'torch' not in sys.modules; mtl_lightning.fit; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


SCRIPT = """
import json, os, sys
import mtl_lightning

if __name__ == "__main__":
    result = mtl_lightning.fit(
        "ads", "source.rows=900", "trainer.accelerator=cpu", "trainer.max_epochs=1", "trainer.devices=2",
        f"trainer.strategy={sys.argv[1]}", "run.dir=run",
    )
    rank = os.environ.get("LOCAL_RANK", "0")
    with open(f"{sys.argv[1]}-{rank}.json", "w") as file:
        json.dump([str(result.run.path), result.metrics, sum(p.sum().item() for p in result.module.parameters())], file)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("strategy", "ranks"), [("ddp", [0, 1]), ("ddp_spawn", [0])])
def test_scripts_train_on_several_processes(folder: Path, strategy: str, ranks: list[int]) -> None:
    (folder / "script.py").write_text(SCRIPT)
    ended = subprocess.run(
        [warm_python(), "script.py", strategy], cwd=folder, capture_output=True, text=True, timeout=800, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    results = [json.loads((folder / f"{strategy}-{rank}.json").read_text()) for rank in ranks]
    recorded = json.loads((folder / "run" / "metrics.json").read_text())["test"]
    for path, metrics, weights in results:
        assert path == "run"
        assert metrics["click"]["auc"] == recorded["metrics"]["test/click/auc"]
        assert weights == results[0][2]
    assert recorded["evaluations"] == 1
    assert ended.stdout.count("Test, best.ckpt") == 1
