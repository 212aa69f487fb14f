"""Objects of the data path print themselves, and transforms survive pickling and copying at any time."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mtl_lightning import DataModule
from mtl_lightning.data.features.build import build_features
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.schema import Task

ROWS = pa.table({
    "user": pa.array(["a", "b", None, "b"] * 10).dictionary_encode(),
    "item": [1, 2, 3, 3] * 10,
    "price": [1.0, 2.0, None, 4.0] * 10,
    "seen": [["a"], ["b", "c"], [], None] * 10,
    "when": ["2024-05-01 10:00", "2024-05-02", None, "2024-05-03"] * 10,
    "click": [0, 1, 1, 0] * 10,
    "genre": ["x", "y", "z", "x"] * 10,
    "tags": ["p|q", "q", "", "p"] * 10,
})  # fmt: skip
FEATURES = {
    "user": "categorical", "item": {"kind": "hashed", "size": 8}, "price": "numeric", "seen": "sequence",
    "steps": {"kind": "buckets", "column": "price"}, "when": {"kind": "date", "part": "weekday"},
    "both": {"kind": "cross", "of": ["user", "item"], "size": 16},
}  # fmt: skip
TASKS = (
    Task(name="click", kind="binary", label="click", observed_when="price >= 1", sample_weight="item * 2"),
    Task(name="genre", kind="multiclass", label="genre"),
    Task(name="tags", kind="multilabel", label="tags"),
)


def transforms() -> Transforms:
    return Transforms(build_features(FEATURES), TASKS, raw=("item",), group="user", cold=("user",))


def same(first: Transforms, second: Transforms) -> bool:
    """True if two encode everything alike."""
    parts = [item.encode_features(ROWS) | item.encode_labels(ROWS) | item.encode_raw(ROWS) for item in (first, second)]
    return all(np.array_equal(parts[0][name], parts[1][name], equal_nan=True) for name in parts[0])


def through_pickle(single: Transforms) -> Any:
    return pickle.loads(pickle.dumps(single))


@pytest.mark.parametrize("again", [through_pickle, copy.deepcopy, copy.copy])
def test_fitted_transforms_encode_the_same_afterwards(again: Callable[[Transforms], Transforms]) -> None:
    fitted = transforms()
    fitted.fit([ROWS])
    restored = again(fitted)
    assert restored.identity == fitted.identity
    assert same(fitted, restored)


@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_fit_goes_on_after_pickling(before: int) -> None:
    blocks = [ROWS.slice(0, 13), ROWS.slice(13)]
    whole = transforms()
    whole.fit(blocks)
    parted = transforms()
    for block in blocks[:before]:
        parted.observe(block)
    parted = through_pickle(parted)
    for block in blocks[before:]:
        parted.observe(block)
    parted.finish()
    assert parted.identity == whole.identity
    assert same(whole, parted)


@pytest.mark.parametrize("shown", [str, repr])
def test_a_data_module_prints_itself(shown: Callable[[Any], str], tmp_path: Path) -> None:
    data = DataModule.from_frame(
        ROWS, features={"price": "numeric", "item": "categorical"}, tasks={"click": "binary"}, cache_dir=tmp_path
    )
    assert shown(data) == "DataModule(Frame: 2 features, tasks click, split by random; not prepared)"
    assert not list(tmp_path.iterdir())  # printing prepares nothing
    data.prepare()
    assert shown(data).endswith("split by random; train 32, validation 4, test 4)")
