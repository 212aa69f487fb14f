"""Values of wrong types, nested ones included: recipes and DataModules refuse them with an error for the user."""

import copy

import pandas as pd
import pytest
import yaml

from mtl_lightning import DataModule
from mtl_lightning.config import compose, validate
from mtl_lightning.errors import MtlError

LOG = pd.DataFrame({"user": range(40), "price": [1.0] * 40, "words": ["a b"] * 40, "click": [0, 1] * 20})
RECIPE = {
    "split": {"by": "random"},
    "features": {
        "user": "categorical",
        "price": {"kind": "numeric"},
        "words": {"kind": "sequence", "separator": " "},
    },
    "tasks": {"click": {"kind": "binary", "label": "click"}},
}
WRONG = {
    "features.price.transform": [],
    "features.price.column": [""],
    "features.price.missing": {},
    "features.price.kind": [],
    "features.words.of": [[]],
    "features.words.length": {},
    "split.by": [],
    "split.cold": [[]],
    "split.column": [""],
    "split.validation": "a",
    "split.seed": [1],
    "split.time": {},
    "split.format": [1],
    "tasks.click.kind": [1],
    "tasks.click.label": [1],
    "tasks.click.observed_when": [1],
    "tasks.click.parents": [[1]],
    "tasks.click.weight": [],
}


@pytest.mark.parametrize(("section", "option", "value"), [("data", "group", [""]), ("trainer", "accelerator", 1)])
def test_other_sections_are_refused_too(section, option, value, tmp_path):
    LOG.to_csv(tmp_path / "log.csv", index=False)
    source = {"name": "table", "path": str(tmp_path / "log.csv")}
    recipe = {"extends": "base", "source": source, **RECIPE, section: {option: value}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(MtlError, match=f"{section}.{option}"):
        validate(compose(str(tmp_path / "recipe.yaml"), []).plain)


@pytest.fixture(params=WRONG)
def wrong(request):
    recipe = copy.deepcopy(RECIPE)
    *folders, name = request.param.split(".")
    place = recipe
    for folder in folders:
        place = place[folder]
    place[name] = WRONG[request.param]
    return recipe


def test_a_recipe_with_a_wrong_type_is_refused(wrong, tmp_path):
    LOG.to_csv(tmp_path / "log.csv", index=False)
    source = {"name": "table", "path": str(tmp_path / "log.csv")}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"extends": "base", "source": source, **wrong}))
    with pytest.raises(MtlError):
        validate(compose(str(tmp_path / "recipe.yaml"), []).plain)


def test_a_data_module_with_a_wrong_type_is_refused(wrong):
    with pytest.raises(MtlError):
        DataModule.from_frame(LOG, **wrong).prepare()


def test_without_them_both_are_accepted(tmp_path):
    LOG.to_csv(tmp_path / "log.csv", index=False)
    source = {"name": "table", "path": str(tmp_path / "log.csv")}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"extends": "base", "source": source, **RECIPE}))
    validate(compose(str(tmp_path / "recipe.yaml"), []).plain)
    DataModule.from_frame(LOG, **RECIPE).prepare()
