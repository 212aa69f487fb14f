"""The guides: snippets run in order, as a reader would run them; what they show of a recipe is what the recipe says."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from environments import build, copy_sources, fresh_environment, run
from snippets import run_snippet

from mtl_lightning.config import compose
from mtl_lightning.config.layers import read_layer

DOCS = Path(__file__).parents[2] / "docs"
GUIDES = [
    "start",
    "your_data",
    "paper_to_plugin",
    *(f"scenarios/{name}" for name in ("ads", "ecommerce", "news", "social")),
]
TEN_MINUTES = "plugin_in_ten_minutes"
PLAIN = ("concepts", "faq", "stability")


def blocks(name: str) -> list[tuple[str, str]]:
    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    return re.findall(r"^```([^\n]*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", [*GUIDES, TEN_MINUTES, *PLAIN])
def test_every_block_says_what_it_is(name: str) -> None:
    known = {"sh", "python", "yaml", "text"} | {"start": {"sh setup"}, TEN_MINUTES: {"sh install"}}.get(name, set())
    assert {language for language, _ in blocks(name)} <= known


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", GUIDES)
def test_snippets_run_in_order(name: str, tmp_path: Path) -> None:
    for language, code in blocks(name):
        if language not in ("sh", "python"):
            continue
        run_snippet(language, code, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_minutes_in_a_fresh_environment(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    built = build(copy_sources(tmp_path_factory.mktemp("tree")), tmp_path_factory.mktemp("dist"), "--wheel")
    programs = fresh_environment(tmp_path_factory.mktemp("environment"), built[0])
    printed = ""
    for language, code in blocks(TEN_MINUTES):
        # What it would fetch (setuptools, pytest) is there already.
        command = code.replace("pip install", "pip install -q --no-index --no-build-isolation")
        if language == "python":
            run(programs, tmp_path, "python", "-c", code)
        else:
            printed += run(programs, tmp_path, "bash", "-euo", "pipefail", "-c", command)
    assert printed.count(" passed") == 2
    assert '"mtl-lightning-gentle": "0.1.0"' in printed
    assert list(tmp_path.glob("runs/ads_gentle/*/metrics.json"))


def within(part: Any, whole: Any) -> bool:
    """True if everything that is shown is there."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and within(value, whole[key]) for key, value in part.items())
    return bool(part == whole)


@pytest.mark.parametrize("name", ["ads", "ecommerce", "news", "social"])
def test_what_a_scenario_shows_of_its_recipe_is_in_the_recipe(name: str) -> None:
    recipe = compose(name).plain
    shown = [code for language, code in blocks(f"scenarios/{name}") if language == "yaml"]
    assert shown
    for code in shown:
        assert within(read_layer(code, name), recipe), code
        assert yaml.safe_load(code)
