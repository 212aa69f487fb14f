"""Trials of defaults.yaml: composition, training, and storage of results with their settings."""

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from mtl_lightning.config import compose, validate
from mtl_lightning.fitting.plan import RunPlan
from mtl_lightning.fitting.run import set_up
from mtl_lightning.plugins import registry
from mtl_lightning.printable import Console
from mtl_lightning.runs.interrupts import Signals
from mtl_lightning.runs.records.metrics import read

OUT = Path("runs") / "defaults"


def expand_windows(groups: Mapping[str, Any]) -> dict[str, Any]:
    """Replace a group with ``windows`` by a group per window: the rows up to a share of the time, test rows last."""
    expanded: dict[str, Any] = {}
    for name, group in groups.items():
        ends = group.get("windows")
        if not ends:
            expanded[name] = group
            continue
        for end in ends:
            window = f"{name}_{round(100 * end)}"
            share = group["share"] / end
            rows = ["source=table", f"source.path={OUT / window}.parquet", f"split.column={group['part']['time']}"]
            split = [f"split.validation={share}", f"split.test={share}", *group.get("start", ())]
            expanded[window] = {**group, "start": rows + split, "part": {**group["part"], "until": end}}
    return expanded


TRIALS = expand_windows(yaml.safe_load(Path(__file__).with_name("defaults.yaml").read_text()))


def composed(group: str, trial: str, seed: int) -> dict[str, Any]:
    """The composed configuration of a trial."""
    chosen = TRIALS[group]
    layers = {"shipped": (), "earlier": ("earlier",)}.get(trial.split("-")[0], ("earlier", "start"))
    starts = [pair for layer in layers for pair in chosen.get(layer, ())]
    return compose(chosen["recipe"], [*starts, *(chosen["trials"][trial] or ()), f"seed={seed}"]).plain


def write_part(group: str) -> None:
    """Write the part of a set that its trials use (short texts, or early rows), unless they use all rows."""
    part = TRIALS[group].get("part")
    path = OUT / f"{group}.parquet"
    if not part or path.is_file():
        return
    table = registry().resolve("source", part["source"])().table()
    if "until" in part:
        pq.write_table(table.sort_by(part["time"]).slice(0, round(part["until"] * table.num_rows)), path)
    else:
        columns = [table[name].to_pylist() for name in TRIALS[group]["text"]]
        texts = [" ".join(value.strip() for value in row if value) for row in zip(*columns, strict=True)]
        pq.write_table(table.take([i for i, text in enumerate(texts) if 0 < len(text) <= part["longest"]]), path)


def digest(plain: Mapping[str, Any]) -> str:
    """Digest of a trial's configuration."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def result_file(group: str, trial: str, seed: int) -> Path:
    """File of a trial's result."""
    return OUT / group / f"{trial}-{seed}.json"


def result(group: str, trial: str, seed: int, *, older: bool = False) -> dict[str, Any] | None:
    """Result of a trial; None if it is missing, or belongs to other settings and ``older`` is false."""
    path = result_file(group, trial, seed)
    if not path.is_file():
        return None
    record: dict[str, Any] = json.loads(path.read_text())
    record["older"] = record["settings"] != digest(composed(group, trial, seed))
    return record if older or not record["older"] else None


def run(group: str, trial: str, seed: int, *, test: bool = False) -> dict[str, Any]:
    """Train a trial and store its best validation; with ``test``, also the rows of the test split."""
    plain = composed(group, trial, seed)
    directory = OUT / group / "cells" / f"{trial}-{seed}-{time.time_ns()}"
    quiet = {"enable_progress_bar": False}
    shown = {**plain, "trainer": {**plain["trainer"], **quiet}}
    shown["run"] = {**plain.get("run", {}), "dir": str(directory), "keep_rows": test, "checkpoint_every": 0}
    with set_up(RunPlan(validate(shown), group), Signals(), Console(quiet=True)) as training:
        prepared = time.monotonic()
        training.train()
        seconds = time.monotonic() - prepared
        validations = read(training.directory)["validations"]
        best = max(validations, key=lambda validation: validation["metrics"]["validation/score"] or -1)
        record = {
            "settings": digest(plain),
            "epoch": best["epoch"],
            "epochs": len(validations),
            "seconds": round(seconds, 1),
            "validation": {name.removeprefix("validation/"): value for name, value in best["metrics"].items()},
        }
        if test:
            training.evaluate()
            record["rows"] = str(directory / "test.npz")
    path = result_file(group, trial, seed)
    path.write_text(json.dumps(record, indent=1) + "\n")
    return record


def main_values(group: str, values: Mapping[str, float]) -> dict[str, float]:
    """Score and figures of a set, by its ``figures``."""
    return {name: values[name] for name in ("score", *TRIALS[group]["figures"]) if values.get(name) is not None}
