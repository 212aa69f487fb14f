"""Speed of encoding compared with pandas + scikit-learn, and of loading compared with a DataLoader and a bare loop.

Usage: ``python data_path.py [rows]``.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from sklearn.preprocessing import OrdinalEncoder, StandardScaler
from torch.utils.data import DataLoader, Dataset

from mtl_lightning import DataModule
from mtl_lightning.data.sources.table import Table

BATCH = 4096
IDS = (200_000, 50_000, 5_000, 200, 20)
WORDS = (50_000, 1_000, 50)
NUMBERS = 6


def write(path: Path, rows: int) -> None:
    random = np.random.default_rng(0)
    columns: dict[str, pa.Array] = {}
    for size in IDS:
        columns[f"id_{size}"] = pa.array(random.zipf(1.2, rows) % size)
    for size in WORDS:
        values = random.integers(0, size, rows)
        columns[f"word_{size}"] = pa.array([f"value {i}" for i in range(size)]).take(pa.array(values))
    for number in range(NUMBERS):
        columns[f"x{number}"] = pa.array(random.normal(size=rows))
    columns["click"] = pa.array(random.integers(0, 2, rows))
    pq.write_table(pa.table(columns), path, row_group_size=131_072)


def with_sklearn(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Encode the same columns, fitted on as many rows; results stay in memory, whereas ours are written to disk."""
    frame = pd.read_parquet(path)
    train = np.random.default_rng(0).random(len(frame)) < 0.8
    categorical = [name for name in frame if name.startswith(("id", "word"))]
    numeric = [name for name in frame if name.startswith("x")]
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, dtype=np.int32)
    scaler = StandardScaler()
    encoder.fit(frame.loc[train, categorical])
    scaler.fit(frame.loc[train, numeric])
    labels = frame["click"].to_numpy()
    return encoder.transform(frame[categorical]), scaler.transform(frame[numeric]), labels


def with_ours(path: Path, cache: str) -> DataModule:
    names = pq.read_schema(path).names
    features = {name: "numeric" if name.startswith("x") else "categorical" for name in names if name != "click"}
    data = DataModule(
        Table(path=str(path)), features=features, tasks={"click": "binary"}, split={"by": "random"}, batch_size=BATCH,
        cache_dir=cache,
    )  # fmt: skip
    data.prepare()
    return data


class PerSample(Dataset):  # type: ignore[type-arg]
    def __init__(self, matrix: torch.Tensor) -> None:
        self.matrix = matrix

    def __len__(self) -> int:
        return len(self.matrix)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = self.matrix[index]
        return {"ids": row[:8].long(), "dense": row[8:-1], "label": row[-1]}


def seconds(run: object) -> float:
    return both(run)[0]


def both(run: object) -> tuple[float, float]:
    """Seconds by the clock, and processor time of all cores, which is less sensitive to other programs."""
    start, used = time.perf_counter(), time.process_time()
    run()  # type: ignore[operator]
    return time.perf_counter() - start, time.process_time() - used


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "log.parquet"
        write(path, rows)
        with_ours(path, f"{directory}/first")  # excludes imports from the measurement
        turns = [
            (both(lambda n=n: with_ours(path, f"{directory}/{n}")), both(lambda: with_sklearn(path))) for n in range(3)
        ]
        (ours, our_cpu), (theirs, their_cpu) = (np.median([turn[side] for turn in turns], axis=0) for side in (0, 1))
        print(f"encode {rows:,} rows: ours {rows / ours:,.0f} rows/s, pandas + scikit-learn {rows / theirs:,.0f}")
        print(f"  ours is {theirs / ours:.1f} times as fast by the clock, {their_cpu / our_cpu:.1f} times by CPU time")
        data = with_ours(path, directory)
        store = data.prepared.stores["train"]
        count = len(store)
        parts = store.parts
        matrix = torch.cat([parts["ids"].float(), parts["dense"], parts["labels"]], dim=1)

        def bare() -> None:
            order = torch.randperm(count)
            for start in range(0, count, BATCH):
                matrix[order[start : start + BATCH]]

        def loader() -> None:
            for _ in data.train_dataloader():
                pass

        sample = PerSample(matrix[:100_000])
        slow = seconds(lambda: [None for _ in DataLoader(sample, BATCH, shuffle=True)]) / len(sample)
        loader()
        times = [(seconds(loader), seconds(bare)) for _ in range(3)]
        fast, plain = (min(column) / count for column in zip(*times, strict=True))
        rates = f"ours {1 / fast:,.0f} rows/s, bare {1 / plain:,.0f}, per sample {1 / slow:,.0f}"
        print(f"load, batches of {BATCH}: {rates}")
        print(f"  ours is {slow / fast:.0f} times as fast as a per-sample DataLoader, takes {fast / plain:.2f} of bare")


if __name__ == "__main__":
    main()
