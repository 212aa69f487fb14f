"""Training and serving with `data.request` next to plain rows, in one run: processor time and ratios.

    python benchmarks/requests.py [requests=1000] [candidates=10] [steps=50] [batch=1000] [served=500] [repeats=2]

Each request has one user, one time and a history of up to ``steps`` events. Networks start from equal weights. A
serving call encodes a request with its events and runs the graph in onnxruntime on one thread.
"""

import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer

from mtl_lightning.build import build_module
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.preparation.row_encoder import RowEncoder
from mtl_lightning.export.graph import save_onnx, trace
from mtl_lightning.export.session import open_session

ENCODERS: dict[str, dict[str, Any]] = {
    "transformer, late_target": {"name": "transformer", "late_target": True, "blocks": 2},
    "transformer": {"name": "transformer", "blocks": 2},
}


def log(requests: int, candidates: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    request = np.repeat(np.arange(requests), candidates)
    users, rows = max(requests // 10, 1), requests * candidates
    return {
        "user": request % users,
        "time": request,
        "age": request % users % 60,
        "item": rng.zipf(1.3, rows) % 20_000,
        "price": rng.random(rows),
        "click": rng.integers(0, 2, rows),
    }


def data(rows: dict[str, Any], folder: str, steps: int, batch: int, request: list[str]) -> DataModule:
    features = {
        "user": "categorical",
        "item": "categorical",
        "age": "numeric",
        "price": "numeric",
        "watched": {"kind": "history", "by": "user", "time": "time", "of": "item", "length": steps},
    }
    split = {"by": "time", "column": "time", "validation": 0.0}
    options = {"batch_size": batch, "request": request, "cache_dir": folder}
    return DataModule.from_frame(rows, features=features, tasks={"click": "binary"}, split=split, **options)


def epoch_seconds(module_data: DataModule, encoder: dict[str, Any]) -> tuple[float, Any]:
    torch.manual_seed(0)
    module = build_module(module_data.schema, encoder=encoder)
    trainer = Trainer(max_epochs=1, barebones=True, accelerator="cpu", limit_val_batches=0)
    start = time.process_time()
    trainer.fit(module, module_data)
    return time.process_time() - start, module.network.eval()


def call_milliseconds(module_data: DataModule, network: Any, folder: str, columns: dict[str, Any], rows: int) -> Any:
    """Median milliseconds of a call, and its scores."""
    requests = bool(module_data.request)
    program, example = trace(network, requests=requests)
    path = Path(folder) / f"{requests}.onnx"
    save_onnx(program, example, ["click"], path)
    session = open_session(path, threads=1)
    encoder = RowEncoder(module_data.prepared.transforms, requests=requests)
    taken = []
    for _ in range(25):
        start = time.process_time()
        parts = encoder.encode(columns, rows)
        (scores,) = session.run(None, {name: parts[name] for name in example})
        taken.append(time.process_time() - start)
    return 1e3 * float(np.median(taken[5:])), scores


def main() -> None:
    pairs = {"requests": 1000, "candidates": 10, "steps": 50, "batch": 1000, "served": 500, "repeats": 2}
    pairs |= {name: int(value) for name, value in (pair.split("=") for pair in sys.argv[1:])}
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    rng, served, steps = np.random.default_rng(1), pairs["served"], pairs["steps"]
    events = [{"time": i, "item": int(item)} for i, item in enumerate(rng.integers(0, 20_000, steps))]
    columns = {
        "user": [7], "time": [10**6], "age": [7], "watched": [events],
        "item": rng.integers(0, 20_000, served).tolist(), "price": rng.random(served).tolist(),
    }  # fmt: skip
    rows = log(pairs["requests"], pairs["candidates"])
    print(", ".join(f"{value} {name}" for name, value in pairs.items()))
    print(f"{'encoder':26}{'':>18}{'rows':>10}{'requests':>10}{'ratio':>8}")
    with tempfile.TemporaryDirectory() as folder:
        flat, grouped = (data(rows, folder, steps, pairs["batch"], request) for request in ([], ["user", "time"]))
        for name, encoder in ENCODERS.items():
            both = [[epoch_seconds(part, encoder) for part in (flat, grouped)] for _ in range(pairs["repeats"])]
            seconds = [min(pair[i][0] for pair in both) for i in range(2)]
            count = len(flat.prepared.stores["train"])
            speeds = [count / value for value in seconds]
            print(f"{name:26}{'samples/s':>18}{speeds[0]:10.0f}{speeds[1]:10.0f}{speeds[1] / speeds[0]:8.2f}")
            network = both[0][1][1]
            plain = build_module(flat.schema, encoder=encoder).network.eval()
            plain.load_state_dict(network.state_dict())
            calls = [
                call_milliseconds(part, model, folder, columns, served)
                for part, model in ((flat, plain), (grouped, network))
            ]
            (before, expected), (after, scores) = calls
            print(f"{'':26}{'call, ms (p50)':>18}{before:10.1f}{after:10.1f}{before / after:8.2f}")
            print(f"{'':26}{'largest difference':>18}{np.abs(expected - scores).max():28.1e}", flush=True)


if __name__ == "__main__":
    main()
