"""``run.loggers``: the choice in a recipe, and what a run leaves with each of them."""

import csv
import importlib.util
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mtl_lightning
from mtl_lightning.config import compose, validate
from mtl_lightning.config.record import Component
from mtl_lightning.errors import ConfigError
from mtl_lightning.plugins import registry

SMALL = ["source.rows=1500", "trainer.accelerator=cpu", "trainer.log_every_n_steps=1"]


def test_loggers_are_components_that_a_saved_configuration_keeps() -> None:
    config = validate(compose("ads", ["run.loggers=[csv, {name: tensorboard, flush_secs: 5}]"]).plain)
    assert config.run.loggers == (
        Component("csv", {"flush_logs_every_n_steps": 100}),
        Component("tensorboard", {"max_queue": 10, "flush_secs": 5}),
    )
    assert validate(config.plain).run.loggers == config.run.loggers
    assert [logger.name for logger in validate(compose("ads", []).plain).run.loggers] == ["tensorboard"]
    assert config.identity == validate(compose("ads", []).plain).identity


@pytest.mark.parametrize(
    ("loggers", "message"),
    [
        ("[tensorbord]", "run.loggers.0.name: no logger is called 'tensorbord' (did you mean 'tensorboard'?)"),
        ("[{name: csv, flush: 1}]", "run.loggers.0.flush: unknown option of logger 'csv'"),
        ("[{name: csv, flush_logs_every_n_steps: 0}]", "run.loggers.0.flush_logs_every_n_steps: is 0"),
        ("[csv, csv]", "run.loggers.1: csv is chosen twice"),
        ("[3]", "run.loggers.0: expects the name of a logger, not 3"),
    ],
)
def test_wrong_loggers_are_named(loggers: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        validate(compose("ads", [f"run.loggers={loggers}"]).plain)
    assert message in str(raised.value)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtl_lightning.config.checks.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"run.loggers.0: needs the package mlflow") as raised:
        validate(compose("ads", ["run.loggers=[mlflow]"]).plain)
    assert "pip install 'mtl-lightning[mlflow]'" in str(raised.value)


def test_packages_of_trackers_are_imported_only_when_they_connect(tmp_path: Path) -> None:
    code = (
        "import sys; from mtl_lightning.plugins import registry\n"
        "from pathlib import Path\n"
        "for name in ('mlflow', 'wandb'): registry().resolve('logger', name)(Path('run'))\n"
        "assert not {'mlflow', 'wandb'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_csv_has_the_values_of_every_start(tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = [*SMALL, "trainer.max_epochs=1", f"run.dir={run}", "run.loggers=[csv]"]
    mtl_lightning.fit("ads", *settings, quiet=True)
    mtl_lightning.resume(run, "trainer.max_epochs=2", quiet=True)
    assert not (run / "tensorboard").exists()
    starts = []
    for version in ("version_0", "version_1"):
        with (run / "csv" / version / "metrics.csv").open() as file:
            starts.append(list(csv.DictReader(file)))
    steps = [[int(row["step"]) for row in rows if row.get("train/loss/click")] for rows in starts]
    assert steps[0] == list(range(1, 3))
    assert steps[1] == list(range(3, 5))  # it continues after the first start, which is still there
    record = json.loads((run / "metrics.json").read_text())
    logged = [row["validation/click/auc"] for rows in starts for row in rows if row.get("validation/click/auc")]
    assert [float(value) for value in logged] == pytest.approx(
        [entry["metrics"]["validation/click/auc"] for entry in record["validations"]]
    )


def framed(content: bytes) -> Iterator[bytes]:
    """Records of a file of W&B: 7 bytes, then LevelDB's log format (checksum, length, kind) in blocks of 32 KiB."""
    place, parts = 7, b""
    while place + 7 <= len(content):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="needs wandb")
def test_wandb_offline_has_the_run_and_continues_it(tmp_path: Path) -> None:
    from wandb.proto import wandb_internal_pb2

    run = tmp_path / "ads" / "run"
    logger = "{name: wandb, offline: true, project: shop, tags: [first]}"
    code = f"import mtl_lightning; mtl_lightning.fit('ads', *{[*SMALL, 'trainer.max_epochs=1', f'run.dir={run}']}, "
    code += f"'run.loggers=[{logger}]', quiet=True); "
    code += f"mtl_lightning.resume({str(run)!r}, 'trainer.max_epochs=2', quiet=True)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=500)
    identity = json.loads((run / "loggers.json").read_text())["wandb"]["id"]
    steps, names, exits = [], set(), []
    for path in sorted((run / "wandb").glob(f"offline-run-*/run-{identity}.wandb")):
        for data in framed(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            values = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
            names |= set(values)
            if "train/loss/click" in values:
                steps.append(int(values["trainer/global_step"]))
            if record.HasField("exit"):
                exits.append(record.exit.exit_code)
    assert sorted(set(steps)) == [1, 2, 3, 4]
    assert exits == [0, 0]
    assert {"train/weight/click", "validation/click/auc", "test/score"} <= names


def test_every_logger_is_one_of_the_contract() -> None:
    from mtl_lightning.loggers.base import RunLogger

    assert [
        name for name in registry().names("logger") if not issubclass(registry().resolve("logger", name), RunLogger)
    ] == []
