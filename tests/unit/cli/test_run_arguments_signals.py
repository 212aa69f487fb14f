"""Commands on a run end with the exit code of a signal, without a traceback, and record nothing then."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from commands import command

import mtl_lightning
from mtl_lightning.predictions import Predictor
from mtl_lightning.training.module import MultiTaskModule


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signals")
    small = {"trainer": {"accelerator": "cpu", "max_steps": 2}, "data": {"cache_dir": str(folder / "cache")}}
    mtl_lightning.fit("ads", "source.rows=600", f"run.dir={folder / 'run'}", "run.test=false", quiet=True, **small)
    return folder / "run"


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_test_ends_with_the_code_of_the_signal(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], signum: int, code: int
) -> None:
    def interrupted(*_: Any) -> None:
        os.kill(os.getpid(), signum)

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        patch.setattr(MultiTaskModule, "test_step", interrupted)
        assert command("test", f"run={run}") == code
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert capsys.readouterr().err == ""
    assert json.loads((run / "metrics.json").read_text())["test"] is None


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_predict_ends_with_the_code_of_the_signal_and_resumes(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    signum: int,
    code: int,
) -> None:
    def interrupted(*_: Any) -> None:
        os.kill(os.getpid(), signum)

    out = tmp_path / "predictions.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "predict", interrupted)
        assert command("predict", f"run={run}", f"out={out}") == code
    assert capsys.readouterr().err == ""
    assert not out.exists()
    assert command("predict", f"run={run}", f"out={out}") == 0
    assert out.exists()
