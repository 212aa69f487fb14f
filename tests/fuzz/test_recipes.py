"""Hostile recipes are refused with an error for the user; an accepted one reads back the same."""

import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from lightning.pytorch import Trainer

from mtl_lightning.config import compose, dump, validate
from mtl_lightning.config.record import DataConfig, RunConfig
from mtl_lightning.data.preparation.split import SplitSpec
from mtl_lightning.errors import MtlError
from mtl_lightning.plugins import registry
from mtl_lightning.schema import Task
from mtl_lightning.training.optimizer import OptimizerConfig
from mtl_lightning.validation.binding import options_of

BASE = """
source: {name: table, path: LOG}
split: {by: random, seed: 1}
features: {user: categorical, price: {kind: numeric, transform: log}, words: {kind: sequence, separator: " "}}
tasks:
  click: {kind: binary, label: click}
  buy: {kind: binary, label: buy, parents: [click]}
encoder: embedding
architecture: mmoe
heads: {buy: esmm}
losses: {click: bce}
metrics: {click: [auc, gauc]}
weighter: pcgrad
optimizer: {name: adam, lr: 0.001}
trainer: {max_epochs: 1, accelerator: cpu}
data: {batch_size: 8, group: user}
run: {patience: 2, slices: [user]}
seed: 1
"""
SECTIONS = tuple(yaml.safe_load(BASE))
ODD_TEXT = (
    "",
    " ",
    "???",
    "\\???",
    "${seed}",
    "${split.seed}",
    "${source}",
    "${",
    "}",
    "\\${seed}",
    "\\\\${seed}",
    "a\\",
    "${seed",
    "${.}",
    "${..}",
    "${...seed}",
    "${tasks.${seed}}",
    "${oc.env:HOME}",
    "${seed}${seed}",
    "${features[user]}",
    "${trainer}",
    "~x/y",
    "~",
    ".",
    "/dev/null",
    "/dev/zero",
    "\x1b[31m",
    "a\x00b",
    "x" * 300,
    "x" * 5000,
    "[",
    "*",
    "reference://x",
    "a\nb",
    "é\u2028",
    "yes",
    "null",
    "1e400",
    "-0.0",
    "click",
    "user",
    "price",
    "click == 1",
    "(" * 200,
    "a == " * 100 + "1",
    "auto",
    "16-mixed",
    "ddp",
    "none",
    "given",
    "time",
    "last",
    "0",
    "007",
    "_target_",
    "name",
    "mtl-lightning/pcgrad",
    "/",
    "a/b",
    "__class__",
    "{user}",
    "\\",
    "'",
    '"',
    "`",
    "`a`",
)
KEYS = (
    "name",
    "kind",
    "by",
    "path",
    "label",
    "parents",
    "click",
    "buy",
    "user",
    "x",
    "",
    ".",
    "a.b",
    "_target_",
    "on",
    1,
    True,
    0.5,
    "\x1b",
)


def known_paths() -> list[tuple[str, ...]]:
    """Every section, and every option of every component where it would stand."""
    paths: set[tuple[str, ...]] = {(section,) for section in SECTIONS}
    places = {
        "source": [("source",)],
        "encoder": [("encoder",)],
        "architecture": [("architecture",)],
        "weighter": [("weighter",)],
        "head": [("heads", "click"), ("heads", "buy")],
        "loss": [("losses", "click")],
        "feature": [("features", "price")],
        "metric": [("metrics", "click", "1")],
    }
    for kind, above in places.items():
        for name in registry().names(kind):
            for option in options_of(registry().resolve(kind, name)):
                paths |= {(*place, option) for place in above}
    records = {
        "data": DataConfig,
        "run": RunConfig,
        "split": SplitSpec,
        "optimizer": OptimizerConfig,
        "trainer": Trainer,
    }
    for section, record in records.items():
        paths |= {(section, option) for option in options_of(record)}
    paths |= {("tasks", task, option) for task in ("click", "buy") for option in options_of(Task)}
    paths |= {(section, "name") for section in ("source", "encoder", "architecture", "weighter", "optimizer")}
    return sorted(paths)


NAMES = sorted(
    {
        name
        for kind in ("encoder", "architecture", "weighter", "head", "loss", "metric")
        for name in registry().names(kind)
    }
)
SCALARS = st.one_of(
    st.sampled_from(ODD_TEXT),
    st.sampled_from([None, True, False, 0, 1, -1, 2, 10**30, -(2**63)]),
    st.sampled_from([0.0, 0.5, -1.5, 1e300, float("inf"), float("nan")]),
    st.sampled_from(NAMES),
    st.text(max_size=8),
)
ODD_KEYS = st.sampled_from(KEYS) | st.text(max_size=4)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)
DEEP = st.tuples(st.integers(1, 300), st.booleans()).map(lambda shape: nested(*shape))
PATHS = known_paths()
RAW = (
    "seed: !!int x",
    "seed: !!float x",
    "seed: !!bool x",
    "seed: !!int ''",
    "seed: !!binary x",
    "seed: !!set {a}",
    "seed: !!timestamp 2024",
    "seed: !!omap [a: 1]",
    "seed: !!null x",
    "seed: !!map x",
    "seed: !!seq x",
    "seed: !!str [1]",
    "seed: !foo x",
    "seed: 2024-01-01",
    "seed: &a [*a]",
    "seed: &a {x: *a}",
    "seed: {<<: 1}",
    "seed: {<<: [1]}",
    "<<: {seed: 3}",
    "seed: *none",
    "? [1]\n: 2",
    "? {a: 1}\n: 2",
    "null: 1",
    "~: 1",
    "1: 2",
    "on: 1",
    "0x1F: 2",
    "1_0: 2",
    "12:30: 1",
    ".nan: 1",
    "seed: 0o7",
    "seed: 0b1",
    "seed: 12:30",
    'seed: "\\uD800"',
    "seed: '\x07'",
    "\tseed: 1",
    "seed: |\n  x",
    "---\nseed: 1\n---\nseed: 2",
    "%YAML 9.9\n---\nseed: 1",
    "seed: [",
    "seed: }",
    "= : 1",
    "seed: !!int " + "9" * 5000,
    "seed: " + "9" * 5000,
    "seed: " + "[" * 90 + "]" * 90,
    "seed: " + "{a: " * 90 + "}" * 90,
    "? " * 90,
    "- " * 90,
)


def nested(depth: int, mapping: bool) -> Any:
    """So many levels of lists or mappings."""
    value: Any = 1
    for _ in range(depth):
        value = {"a": value} if mapping else [value]
    return value


def changed(plain: Any, path: tuple[str, ...], value: Any) -> None:
    """Set a value of a recipe; what is in the way is replaced by a mapping."""
    for key in path[:-1]:
        if not isinstance(plain.get(key), dict):
            plain[key] = {"name": plain[key]} if isinstance(plain.get(key), str) else {}
        plain = plain[key]
    plain[path[-1]] = value


@st.composite
def recipes(draw: st.DrawFn) -> str:
    """A right recipe with a few wrong, odd or right settings, sometimes with YAML that no writer gives."""
    plain = yaml.safe_load(BASE)
    for _ in range(draw(st.integers(1, 3))):
        values = draw(st.sampled_from([SCALARS] * 12 + [VALUES] * 6 + [DEEP]))
        changed(plain, draw(st.sampled_from(PATHS)), draw(values))
    text = yaml.dump(plain, Dumper=_Dumper, allow_unicode=True, sort_keys=False)
    raw = draw(st.sampled_from(RAW)).replace("seed:", "odd:") if draw(st.sampled_from([False] * 9 + [True])) else ""
    return f"{text}{raw}\n"


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


DOTTED = st.sampled_from(PATHS).map(".".join) | st.text(max_size=12)
PAIR = st.tuples(DOTTED, SCALARS.map(str) | VALUES.map(str) | st.text(max_size=20))
PAIRS = st.sampled_from([0, 0, 0, 0, 1, 2]).flatmap(lambda count: st.lists(PAIR, min_size=count, max_size=count))


def check(text: str, pairs: list[tuple[str, str]], folder: Path) -> None:
    """Compose and validate; whatever is accepted gives the same when its page is read again."""
    log = folder / "log.csv"
    if not log.exists():
        chosen = random.Random(1)
        rows = [
            f"u{chosen.randrange(9)},{chosen.random():.3f},a b,{chosen.randrange(2)},{chosen.randrange(2)}"
            for _ in range(50)
        ]
        log.write_text("\n".join(["user,price,words,click,buy", *rows]) + "\n")
    recipe = folder / "recipe.yaml"
    recipe.write_text(text.replace("LOG", str(log)), encoding="utf-8", errors="surrogateescape")
    try:
        config = validate(compose(str(recipe), [f"{key}={value}" for key, value in pairs]).plain)
    except MtlError:
        return
    page = folder / "config.yaml"
    page.write_text(dump(config.plain), encoding="utf-8")
    assert validate(compose(str(page)).plain).identity == config.identity


SHORT = settings(max_examples=50, derandomize=True, suppress_health_check=list(HealthCheck))
LONG = settings(max_examples=2_500, database=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipes")


def test_the_recipe_that_is_changed_is_right(folder: Path) -> None:
    check(BASE, [], folder)
    text = BASE.replace("LOG", str(folder / "log.csv"))
    (folder / "right.yaml").write_text(text)
    assert validate(compose(str(folder / "right.yaml")).plain).weighter.name == "pcgrad"


@pytest.mark.parametrize("raw", RAW)
def test_odd_yaml_is_read_or_refused(folder: Path, raw: str) -> None:
    check(BASE.replace("seed: 1\n", "") + raw + "\n", [], folder)


@SHORT
@given(recipes(), PAIRS)
def test_a_recipe_is_read_or_refused(folder: Path, text: str, pairs: list[tuple[str, str]]) -> None:
    check(text, pairs, folder)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(4))
def test_ten_thousand_recipes_are_read_or_refused(folder: Path, part: int) -> None:
    @seed(part)
    @LONG
    @given(recipes(), PAIRS)
    def run(text: str, pairs: list[tuple[str, str]]) -> None:
        check(text, pairs, folder)

    run()
