"""The contract of its kind over every name of this package; plugins that happen to be installed test their own."""

from pathlib import Path
from typing import Any

import pytest
import raw_logs

from mtl_lightning.errors import DataError
from mtl_lightning.plugins import KINDS, registry
from mtl_lightning.testing import CONTRACTS, ComponentContract

LOG = Path(__file__).with_name("log.csv")

# What a component needs beyond its defaults.
SETTINGS: dict[tuple[str, str], dict[str, Any]] = {
    ("encoder", "hstu"): {"auxiliary_options": {"next_action": 0.5}},
    ("encoder", "transformer"): {"auxiliary_options": {"next_action": 0.5}},
    ("feature", "buckets"): {"rows": {"f": [1.0, 2.0, 5.0, None, 3.0]}},
    ("feature", "cross"): {
        "options": {"of": ("a", "b")},
        "others": {"a": "categorical", "b": "categorical"},
        "rows": {"a": ["x", "y", None, "x"], "b": [1, 2, 3, 1]},
    },
    ("feature", "date"): {"rows": {"f": [0, 3600, None, 10**9]}},
    ("feature", "history"): {
        "options": {"by": "u", "time": "t", "of": "i", "with_": ({"p": "log"},), "gap": True},
        "rows": {"u": ["a", "b", None, "a"], "t": [1, 2, 3, None], "i": [7, 8, None, 7], "p": [0.5, None, 2.0, 1.0]},
    },
    ("feature", "numeric"): {"rows": {"f": [1.0, 2.0, None, 4.0]}},
    ("feature", "sequence"): {"rows": {"f": [["a"], None, ["b", "a"], []]}},
    ("feature", "overlap"): {
        "options": {"of": ["f", "g"], "as_": "share"},
        "rows": {"f": [["a", "b"], None, ["c"], []], "g": [["b"], ["a"], None, ["c"]]},
    },
    ("feature", "semantic_id"): {
        "options": {"size": 2, "clusters": 2},
        "rows": {"f": ["1 2", None, "0 0", "3 4", "3 5"]},
    },
    ("feature", "preference"): {"options": {"tasks": ["a", "b"]}, "rows": {"f": ["1 2", None, "0 0", "3 4"]}},
    ("feature", "vector"): {"options": {"size": 2}, "rows": {"f": ["1 2", None, "0 0", "3 4"]}},
    ("head", "aitm"): {"parents": ("binary",)},
    ("head", "dcmt"): {"parents": ("binary",)},
    ("head", "escm2"): {"parents": ("binary",)},
    ("head", "esmm"): {"parents": ("binary",)},
    ("source", "movielens_100k"): {"fetched": True},
    ("source", "womens_clothing"): {"fetched": True},
    ("source", "table"): {
        "options": {"path": str(LOG), "time": "time", "group": "user"},
        "other_options": {"path": {"train": str(LOG), "test": str(LOG)}},
    },
    ("source", "hub"): {
        "options": {"id": str(LOG.parent), "files": "log.csv"},
        "other_options": {"files": {"test": "log.csv"}},
    },
    ("source", "simulator"): {"options": {"rows": 3000}, "other_options": {"seed": 1}},
    ("loss", "cread"): {"head": "cread"},
    ("loss", "d2q"): {"head": "d2q"},
    ("loss", "dcmt"): {"head": "dcmt", "parents": ("binary",)},
    ("loss", "delay_windows"): {"head": "delay_windows"},
    ("loss", "delayed_feedback"): {"head": "delayed_feedback"},
    ("loss", "dragonnet"): {"head": "dragonnet"},
    ("loss", "escm2"): {"head": "escm2", "parents": ("binary",)},
    ("loss", "esdfm"): {"head": "esdfm"},
    ("loss", "huber"): {"head": "regression"},
    ("loss", "jrc"): {"head": "jrc", "row_wise": False},
    ("loss", "listwise"): {"row_wise": False},
    ("loss", "log_cosh"): {"head": "regression"},
    ("loss", "mae"): {"head": "regression"},
    ("loss", "mse"): {"head": "regression"},
    ("loss", "pairwise"): {"row_wise": False},
    ("loss", "pinball"): {"head": "distribution"},
    ("loss", "tpm"): {"head": "tpm"},
    ("loss", "uplift"): {"head": "t_learner"},
    ("loss", "weighted_logistic"): {"head": "weighted_logistic"},
    ("loss", "x_learner"): {"head": "x_learner"},
    ("executor", "processes"): {"options": {"workers": 2}},
    ("executor", "threads"): {"options": {"workers": 2}},
    ("logger", "mlflow"): {"options": {"tracking_uri": "http://127.0.0.1:9", "wait": 0.2}},
    ("logger", "wandb"): {"options": {"offline": True}},
    ("weighter", "attention"): {"permutable": False},  # its embedding of each task starts at random
    ("weighter", "cosmos"): {"permutable": False},
    ("weighter", "metabalance"): {"options": {"target": "click"}},
    ("weighter", "pcgrad"): {"permutable": False},
    ("weighter", "rlw"): {"permutable": False},
}

for raw_log in ("ali_ccp", "aliexpress", "census_income", "criteo_attribution", "criteo_search", "ebnerd", "kuairand",
                "mind", "movielens_1m", "tenrec", "wechat"):  # fmt: skip
    SETTINGS["source", raw_log] = {"options": {"path": str(raw_logs.written(raw_log))}}
for fetched in ("adult", "cdnow", "open_bandit"):
    SETTINGS["source", fetched] = {"fetched": True}


def contract(kind: str, name: str) -> type[ComponentContract]:
    settings = SETTINGS.get((kind, name), {})
    component = property(lambda _: registry().resolve(kind, name))  # a broken component fails its own tests only
    return type(f"Test_{kind}_{name}", (CONTRACTS[kind],), {"component": component, **settings})


for kind in KINDS:
    for name, entry in registry().entries(kind):
        if entry.distribution != "mtl-lightning":
            continue
        case = contract(kind, name)
        globals()[case.__name__] = case


@pytest.fixture(autouse=True)
def only_what_was_fetched(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of a public set are read where they are; nothing is fetched, and nothing else is kept."""
    if not getattr(request.cls, "fetched", False):
        monkeypatch.setenv("MTL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    elif "rows" in request.node.name:
        try:
            request.cls().build().rows()
        except DataError as error:
            pytest.skip(str(error))


@pytest.mark.parametrize("key", SETTINGS, ids="-".join)
def test_settings_belong_to_a_component(key: tuple[str, str]) -> None:
    assert key[1] in registry().names(key[0])


def test_every_kind_has_a_contract() -> None:
    assert set(CONTRACTS) == set(KINDS)
