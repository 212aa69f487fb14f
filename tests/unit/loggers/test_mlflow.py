"""A real MLflow server, in an environment of its own: its packages don't install with the newest pyarrow."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import run_command
from warm_python import warm_python

from mtl_lightning.plugins import registry

pytest.importorskip("mlflow")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SMALL = ["recipe=ads", "source.rows=1500", "trainer.accelerator=cpu", "trainer.log_every_n_steps=1"]
VERSION = "mlflow==3.17.2"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def until_healthy(uri: str, log: Path) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(f"{uri}/health", timeout=5).close()
        except OSError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        else:
            return


class MLflowServer:
    """A server with SQLite, which can be stopped and started again on the same port.

    Args:
        programs: Directory of the program ``mlflow``.
        home: Where it keeps its files.
    """

    def __init__(self, programs: Path, home: Path) -> None:
        self.port = free_port()
        self.programs = programs
        self.uri = f"http://127.0.0.1:{self.port}"
        store = ["--backend-store-uri", f"sqlite:///{home}/runs.db", "--artifacts-destination", str(home / "artefacts")]
        self.command = [str(programs / "mlflow"), "server", "--port", str(self.port), "--workers", "1", *store]
        self.home = home
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.home / "server.log").open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, start_new_session=True, cwd=self.home)
        until_healthy(self.uri, self.home / "server.log")

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, 9)
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MLflowServer]:
    home = tmp_path_factory.mktemp("mlflow")
    venv.create(home / "environment", with_pip=True)
    programs = home / "environment" / "bin"
    subprocess.run([programs / "pip", "install", "-q", VERSION], check=True, capture_output=True)
    server = MLflowServer(programs, home)
    server.start()
    yield server
    server.stop()


def fit(*pairs: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [warm_python(), "-m", "mtl_lightning", "fit", *pairs]
    return subprocess.run(
        command, check=check, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def the_run(server: MLflowServer, experiment: str) -> tuple[Any, Any]:
    from mlflow import MlflowClient

    client = MlflowClient(server.uri)
    result = client.get_experiment_by_name(experiment)
    assert result is not None
    (run,) = client.search_runs([result.experiment_id])
    return client, run


def test_a_run_and_its_continuation_are_one_run(server: MLflowServer, tmp_path: Path) -> None:
    run = tmp_path / "shop" / "monday"
    logger = f"{{name: mlflow, tracking_uri: '{server.uri}', tags: {{team: feed}}}}"
    done = fit(*SMALL, "trainer.max_epochs=1", f"run.dir={run}", f"run.loggers=[tensorboard, {logger}]")
    assert "logger mlflow" not in done.stderr
    client, first = the_run(server, "shop")
    assert first.info.run_name == "monday"
    assert first.info.status == "FINISHED"
    assert first.data.tags["team"] == "feed"
    assert first.data.params["trainer.max_epochs"] == "1"
    fit(f"resume={run}", "trainer.max_epochs=2")
    client, second = the_run(server, "shop")
    assert second.info.run_id == first.info.run_id
    assert second.info.status == "FINISHED"
    assert second.data.tags["changed/trainer.max_epochs"] == "2"
    steps = [entry.step for entry in client.get_metric_history(second.info.run_id, "train/loss/click")]
    assert steps == [1, 2, 3, 4]
    assert {"train/weight/click", "validation/conversion/auc", "test/score"} <= set(second.data.metrics)
    assert {"config.yaml", "metrics.json", "transforms"} <= {
        file.path for file in client.list_artifacts(second.info.run_id)
    }


def test_an_interrupted_run_says_so(server: MLflowServer, tmp_path: Path) -> None:
    run = tmp_path / "stopped" / "run"
    logger = f"{{name: mlflow, tracking_uri: '{server.uri}'}}"
    pairs = [*SMALL, "trainer.max_epochs=500", f"run.dir={run}", f"run.loggers=[{logger}]"]
    process = subprocess.Popen([warm_python(), "-m", "mtl_lightning", "fit", *pairs], stderr=subprocess.DEVNULL)
    while not list(run.glob("checkpoints/last.ckpt")):
        assert process.poll() is None
        time.sleep(0.1)
    process.terminate()
    process.wait(120)
    assert the_run(server, "stopped")[1].info.status == "KILLED"


def test_a_server_that_is_gone_does_not_stop_training(server: MLflowServer, tmp_path: Path) -> None:
    run = tmp_path / "gone" / "run"
    server.stop()
    try:
        logger = f"{{name: mlflow, tracking_uri: '{server.uri}', wait: 3}}"
        done = fit(*SMALL, "trainer.max_epochs=1", f"run.dir={run}", f"run.loggers=[{logger}]")
    finally:
        server.start()
    message = " ".join((done.stdout + done.stderr).split())
    assert "logger mlflow:" in message
    assert "records did not reach it" in message
    assert (run / "metrics.json").is_file()


def test_a_registered_export_answers_with_the_scores_of_predict(server: MLflowServer, tmp_path: Path) -> None:
    run, out = tmp_path / "served" / "run", tmp_path / "ads"
    logger = f"{{name: mlflow, tracking_uri: '{server.uri}'}}"
    fit(*SMALL, "trainer.max_epochs=1", f"run.dir={run}", f"run.loggers=[{logger}]")
    done = run_command(tmp_path, "export", f"run={run}", f"out={out}", "register=mlflow:/ads", "--json")
    assert json.loads(done.stdout)["registered"] == {"name": "ads", "version": 1}, done.stderr
    client, logged = the_run(server, "served")
    assert client.get_model_version("ads", "1").run_id == logged.info.run_id
    assert logged.info.status == "FINISHED"

    source = registry().resolve("source", "simulator")(scenario="ads", rows=50, seed=5)
    rows = pa.table(source.rows().with_format("arrow")[:])
    pq.write_table(rows, tmp_path / "rows.parquet")
    assert run_command(tmp_path, "predict", f"run={out}", "data=rows.parquet", "out=scores.parquet").returncode == 0
    expected = pq.read_table(tmp_path / "scores.parquet")
    answers = invoke(server, tmp_path, {"dataframe_records": rows.to_pylist()})
    assert set(answers[0]) == {*expected.column_names} - {"row", "user_id"}
    for name in answers[0]:
        np.testing.assert_allclose([answer[name] for answer in answers], expected[name].to_numpy(), atol=1e-5)


def invoke(server: MLflowServer, folder: Path, body: dict[str, Any]) -> list[dict[str, float]]:
    """Answer of ``mlflow models serve`` for the first version of the model ``ads``."""
    # Packages of this environment come after the ones of MLflow's.
    (packages,) = (server.programs.parent / "lib").glob("python3*/site-packages")
    own = [path for path in sys.path if path.endswith("-packages")]
    (packages / "own.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in own))
    port = free_port()
    command = [server.programs / "mlflow", "models", "serve", "-m", "models:/ads/1", "--env-manager", "local"]
    path = f"{server.programs}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": server.uri, "PATH": path, "OMP_NUM_THREADS": "1"}
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        until_healthy(f"http://127.0.0.1:{port}", folder / "serve.log")
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            predictions: list[dict[str, float]] = json.load(answer)["predictions"]
        return predictions
    finally:
        os.killpg(process.pid, 9)
        process.wait()
