"""Recipes and DataModule are held to the same rules, and report problems in the same words."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mtl_lightning.config import validate
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.features.base import Feature
from mtl_lightning.data.features.build import build_features, read_features
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.data.sources.table import Table
from mtl_lightning.errors import ConfigError, DataError
from mtl_lightning.validation.review import Review

FEATURES: dict[str, Any] = {"user": {"kind": "categorical"}}
TASKS: dict[str, Any] = {"click": {"kind": "binary", "label": "click"}}


def write_log(path: Path) -> str:
    pd.DataFrame({"user": list("abcd") * 5, "click": [0, 1] * 10}).to_csv(path, index=False)
    return str(path)


def recipe_problems(path: str, sections: dict[str, Any]) -> list[str]:
    recipe = {"source": {"name": "table", "path": path}, "features": FEATURES, "tasks": TASKS, **sections}
    rest = {"encoder": "embedding", "architecture": "shared_bottom", "weighter": "sum"}
    with pytest.raises(ConfigError) as caught:
        validate(recipe | rest)
    return [str(problem) for problem in caught.value.problems]


def python_problems(path: str, sections: dict[str, Any]) -> list[str]:
    arguments = {"features": FEATURES, "tasks": TASKS, **{key: part for key, part in sections.items() if key != "data"}}
    with pytest.raises(DataError) as caught:
        DataModule(Table(path=path), **arguments, **sections.get("data", {}))
    first, *lines = str(caught.value).splitlines()
    return [line.strip() for line in lines] if lines else [first]


@pytest.mark.parametrize(
    "sections",
    [
        {"features": {"user": {"kind": "categorcal"}}},
        {"features": {"user": {"min_count": 2}}},
        {"features": {"user": ["categorical"]}},
        {"features": {"user": {"kind": "categorical", "min_cuont": 2}}},
        {"features": {"user": {"kind": "categorical", "min_count": "two"}}},
        {"features": {**FEATURES, "both": {"kind": "cross", "of": ["user", "itme"], "size": 100}}},
        {"features": {**FEATURES, "age": {"kind": "numeric", "column": "user", "transform": "lgo"}}},
        {"tasks": {"click": {"kind": "binray", "label": "click"}}},
        {"tasks": {"click": {"kind": "binary", "label": "click", "weigth": 2}}},
        {"tasks": {"click": {"kind": "binary", "label": "click", "weight": -1}}},
        {"tasks": {"click": {"kind": "binary", "label": "click", "mean": 0.5}}},
        {"tasks": {"keys": {"kind": "binary", "label": "click"}}},
        {"tasks": {**TASKS, "buy": {"kind": "binary", "label": "click", "parents": ["clik"]}}},
        {
            "tasks": {
                "a": {"kind": "binary", "label": "click", "parents": ["b"]},
                "b": {"kind": "binary", "label": "click", "parents": ["a"]},
            }
        },
        {"split": {"by": "tmie"}},
        {"split": {"by": "random", "tset": 0.2}},
        {"split": {"by": "random", "test": 1.5}},
        {"split": {"by": "random", "validation": 0.5, "test": 0.5}},
        {"data": {"batch_size": 0}},
        {"data": {"pool": -1, "eval_batch_size": 0}},
    ],
    ids=str,
)
def test_recipes_and_python_get_the_same_problems(sections: dict[str, Any], tmp_path: Path) -> None:
    path = write_log(tmp_path / "log.csv")
    assert python_problems(path, sections) == recipe_problems(path, sections)


def test_python_gets_all_problems_at_once(tmp_path: Path) -> None:
    sections = {"features": {"user": "categorcal", "age": {}}, "tasks": {"click": "binray"}, "split": {"by": "tmie"}}
    lines = python_problems(write_log(tmp_path / "log.csv"), sections)
    assert [line.split(":")[0] for line in lines] == [
        "features.user.kind",
        "features.age.kind",
        "tasks.click.kind",
        "split.by",
    ]


def test_python_may_leave_out_labels_and_give_numbers_of_numpy(tmp_path: Path) -> None:
    path = write_log(tmp_path / "log.csv")
    features = {"user": {"kind": "categorical", "min_count": np.int64(2)}}
    data = DataModule(Table(path=path), features=features, tasks={"click": "binary"}, batch_size=np.int64(4))
    assert data.tasks[0].label == "click"
    assert data.features["user"].min_count == 2
    (problem,) = python_problems(path, {"data": {"batch_size": np.int64(0)}})
    assert problem == "data.batch_size: is 0, and must be at least 1"


def test_features_that_refer_to_each_other_are_named() -> None:
    first, second = Referring("b"), Referring("a")
    review = Review()
    read_features({"a": first, "b": second}, review)
    assert [str(problem) for problem in review.problems] == [
        "features.a.of: features refer to each other: a → b → a (break the cycle)"
    ]
    with pytest.raises(DataError, match=r"features\.a\.of: features refer to each other: a → b → a"):
        Transforms({"a": first, "b": second}, ())


class Referring(Feature):
    """A feature that may refer to any other."""

    kind, makes = "referring", "categorical"

    def __init__(self, of: str) -> None:
        self.of = of

    def columns(self, name: str) -> tuple[str, ...]:
        return ()

    def build(self, name: str, others: Any) -> Any:
        raise AssertionError("a feature of a cycle is not built")

    def needs(self) -> tuple[str, ...]:
        return (self.of,)

    def refuses(self, other: Feature) -> str:
        return ""


def test_wrong_types_that_only_a_constructor_sees_are_problems() -> None:
    with pytest.raises(DataError, match=r"features\.words: an option has a wrong type"):
        build_features({"words": {"kind": "buckets", "edges": object()}})


def test_defects_of_a_constructor_are_not_problems() -> None:
    class Broken:
        def __init__(self, *, size: int = 1) -> None:
            raise TypeError("a defect")

    with pytest.raises(TypeError, match="a defect"):
        Review().record("features.x", Broken, {"size": 2})
