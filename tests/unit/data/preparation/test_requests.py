"""Requests: what is constant is stored once, splits keep requests whole, and wrong declarations are refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from mtl_lightning.config import compose, validate
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.preparation.prepared import Transforms
from mtl_lightning.data.preparation.request_keys import request_keys
from mtl_lightning.data.preparation.split import SPLITS
from mtl_lightning.data.readers.blocks import ROW
from mtl_lightning.errors import ConfigError, DataError

FEATURES: dict[str, Any] = {
    "user": "categorical",
    "item": "categorical",
    "age": "numeric",
    "price": "numeric",
    "seen": {"kind": "sequence", "length": 4},
    "watched": {"kind": "history", "by": "user", "time": "time", "of": "item", "gap": True, "length": 6},
    "profile": {"kind": "vector", "size": 2},
}


def log(seed: int = 0, requests: int = 60) -> dict[str, list[Any]]:
    """Requests of 1 to 6 rows, scattered over the log; the rows of a request have one time."""
    rng = np.random.default_rng(seed)
    request = np.repeat(np.arange(requests), rng.integers(1, 7, requests))
    request = request[rng.permutation(len(request))]
    rows = len(request)
    return {
        "user": [f"u{r % 13}" for r in request],
        "visit": [int(r // 13) for r in request],
        "time": [int(r) * 10 for r in request],
        "item": rng.integers(0, 20, rows).tolist(),
        "age": [None if r % 5 == 0 else float(r % 7) for r in request],
        "price": rng.random(rows).round(3).tolist(),
        "seen": [" ".join(str((r * 3 + i) % 9) for i in range(r % 6)) for r in request],
        "profile": [[r / 7, r % 3] for r in request],
        "click": rng.integers(0, 2, rows).tolist(),
        "part": [SPLITS[0] if r % 4 else SPLITS[r % 3] for r in request],
    }


def module(rows: dict[str, list[Any]], path: Path, **options: Any) -> DataModule:
    options = {"request": ["user", "visit"], "split": {"by": "given", "column": "part"}, "seed": 3, **options}
    return DataModule.from_frame(
        rows, features=FEATURES, tasks={"click": "binary"}, group="user", raw=["time"], cache_dir=path, **options
    )


def rows_of(data: DataModule, split: str) -> dict[str, torch.Tensor]:
    """Every tensor of all rows of a split, in the Store's order."""
    batch = data.prepare().stores[split].batch(slice(None)).expand()
    values = {"ids": batch.ids, "dense": batch.dense, "labels": batch.labels, "group": batch.group, **batch.raw}
    steps = batch.steps["watched"].padded(6)
    parts = {"ids of steps": steps.ids, "gaps": steps.gap, "lengths": steps.length}
    return values | batch.sequences | batch.vectors | parts


@pytest.mark.parametrize("seed", range(6))
def test_the_rows_are_those_without_requests(seed: int, tmp_path: Path) -> None:
    rows = log(seed)
    grouped, flat = module(rows, tmp_path), module(rows, tmp_path, request=())
    for split in SPLITS:
        expected = rows_of(flat, split)
        for name, value in rows_of(grouped, split).items():
            assert torch.equal(value, expected[name]), (split, name)
    assert set(grouped.prepare().transforms.per_request or ()) == {"user", "age", "seen", "watched", "profile"}
    store = grouped.prepare().stores["train"]
    assert store.requests is not None
    assert len(store.requests) < len(store)
    assert store.bytes < flat.prepare().stores["train"].bytes
    assert store.requests.parts["sequence/seen"].shape[0] == len(store.requests)
    again = module(rows, tmp_path).prepare()
    assert again.summary["cached"]
    assert (
        again.schema
        == grouped.schema
        == Transforms.from_dict(json.loads(json.dumps(again.transforms.to_dict()))).schema
    )


@pytest.mark.parametrize(
    "split",
    [
        {"by": "random", "validation": 0.2, "test": 0.2},
        {"by": "time", "column": "time", "validation": 0.2, "test": 0.2},
        {"by": "user", "column": "user", "validation": 0.2, "test": 0.2},
        {"by": "last", "column": "user", "time": "time"},
    ],
    ids=lambda split: split["by"],
)
def test_no_split_cuts_a_request(split: dict[str, Any], tmp_path: Path) -> None:
    rows = log()
    rows["time"] = [time + int(price * 25) for time, price in zip(rows["time"], rows["price"], strict=True)]
    data = module(rows, tmp_path, split=split).prepare()
    keys = list(zip(rows["user"], rows["visit"], strict=True))
    counts = data.summary["request"]["requests"]
    assert sum(counts.values()) == len(set(keys)), "a request that is cut would count twice"
    assert all(counts.values())
    if split["by"] in ("random", "time"):
        assert abs(counts["test"] - 0.2 * len(set(keys))) <= 1
    if split["by"] == "last":
        latest = {}
        for (user, visit), time in zip(keys, rows["time"], strict=True):
            latest[user] = max(latest.get(user, (-1, None)), (time, visit))
        expected = sum(visit == latest[user][1] for user, visit in keys)
        assert data.summary["rows"]["test"] == expected
    if split["by"] == "time":
        latest_trained = data.stores["train"].parts["raw/time"].max()
        assert latest_trained <= data.stores["test"].parts["raw/time"].max()


def test_a_declared_feature_is_checked_on_every_row(tmp_path: Path) -> None:
    rows = log()
    assert module(rows, tmp_path, per_request=["seen"]).prepare().transforms.per_request == ("seen",)
    cut = next(i for i, part in enumerate(rows["part"]) if part == "test")
    request = (rows["user"][cut], rows["visit"][cut])
    places = [i for i, key in enumerate(zip(rows["user"], rows["visit"], strict=True)) if key == request]
    assert len(places) > 1
    rows["age"][places[-1]] = 99.0
    assert "age" not in (module(rows, tmp_path).prepare().transforms.per_request or ())
    with pytest.raises(
        DataError, match=rf"'age' differs between rows {places[0]} and {places[-1]} .*split test"
    ) as error:
        module(rows, tmp_path, per_request=["seen", "age"]).prepare()
    assert "data.per_request" in (error.value.hint or "")


def test_a_request_in_two_given_splits_is_refused(tmp_path: Path) -> None:
    rows = log()
    keys = list(zip(rows["user"], rows["visit"], strict=True))
    place = next(i for i, key in enumerate(keys) if rows["part"][i] == "train" and keys.count(key) > 1)
    rows["part"][place] = "validation"
    with pytest.raises(DataError, match=r"1 requests .*user and visit.* in train and in validation"):
        module(rows, tmp_path).prepare()


def test_useless_and_wrong_requests_are_refused(tmp_path: Path) -> None:
    rows = log()
    with pytest.raises(DataError, match="differ in all training rows"):
        module({**rows, "visit": list(range(len(rows["user"])))}, tmp_path).prepare()
    with pytest.raises(DataError, match="no feature 'agge'"):
        module(rows, tmp_path, per_request=["agge"]).prepare()
    with pytest.raises(DataError, match="there are no requests"):
        module(rows, tmp_path, request=(), per_request=["age"]).prepare()
    with pytest.raises(DataError, match=r"data\.request.*session"):
        module(rows, tmp_path, request=["session"]).prepare()
    varying = {**log(), "age": list(range(len(rows["age"])))}
    features = {"age": "numeric", "item": "categorical"}
    with pytest.raises(DataError, match="no feature is constant"):
        DataModule.from_frame(
            varying, features=features, tasks={"click": "binary"}, request=["user", "visit"], cache_dir=tmp_path
        ).prepare()


def test_text_is_neither_a_list_of_columns_nor_an_executor(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data.request: expects a list of strings, not 'user'"):
        module(log(), tmp_path, request="user")
    with pytest.raises(DataError, match=r"data.executor: is 'processes', not an Executor \(as Processes"):
        module(log(), tmp_path, executor="processes")


def test_an_order_as_a_function_is_refused_before_rows_are_read(tmp_path: Path) -> None:
    message = r"data.order: a function does not keep the rows of a request together \(set data.order=array\)"
    with pytest.raises(DataError, match=message):
        module(log(), tmp_path, order="function")
    with pytest.raises(ConfigError, match=message):
        validate(compose("ads", ["data.request=[user_id]", "data.order=function"]).plain)


def test_a_recipe_names_columns_and_features() -> None:
    plain = compose("ads", ["data.request=[user_id,sesion]", "data.per_request=[ghost]"]).plain
    with pytest.raises(ConfigError) as error:
        validate(plain)
    message = str(error.value)
    assert "data.request.1" in message
    assert "no feature 'ghost'" in message


def test_rows_without_a_key_are_requests_by_themselves() -> None:
    block = pa.table({"user": ["a", None, None, "a"], ROW: [5, 6, 7, 8]})
    keys = request_keys(block, ["user"])
    assert keys[0] == keys[3] >= 0
    assert keys[1:3].tolist() == [-7, -8]
