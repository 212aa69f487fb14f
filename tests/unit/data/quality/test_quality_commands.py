"""``data inspect`` and ``fit`` on logs with something wrong, as a user calls them."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import command

RECIPE = """
extends: base
source: {name: table, path: log.csv}
split: {by: time, column: day}
features: {user: categorical, price: numeric, dwell: numeric}
tasks:
  click: {kind: binary, label: click}
  buy: {kind: binary, label: buy, parents: [click]}
trainer: {max_epochs: 1, accelerator: cpu, enable_progress_bar: false}
run: {dir: run}
"""


@pytest.fixture(autouse=True)
def bad_log(tmp_path, monkeypatch):
    """Dwell is known only after a click, and some buy without one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "160")
    draw = np.random.default_rng(0)
    click = draw.random(2000) < 0.3
    frame = pd.DataFrame(
        {
            "user": draw.integers(0, 100, 2000),
            "price": draw.normal(size=2000),
            "dwell": np.where(click, draw.exponential(20, 2000), np.nan),
            "click": click.astype(int),
            "buy": (draw.random(2000) < 0.1).astype(int),
            "day": np.sort(draw.integers(0, 14, 2000)),
        }
    )
    frame.to_csv("log.csv", index=False)
    Path("bad.yaml").write_text(RECIPE)


def test_fit_stops_names_all_and_leaves_nothing(capsys):
    for _ in range(2):  # the second time from what was kept
        assert command("fit", "recipe=bad.yaml") == 2
        error = capsys.readouterr().err
        assert "2 serious findings in the training rows" in error
        assert "leak:dwell:click" in error
        assert "funnel:buy" in error
        assert "data.accept=[leak:dwell:click,funnel:buy]" in error
        assert not Path("run").exists()


def test_fit_goes_on_with_what_is_accepted_or_repaired(capsys):
    assert command("fit", "recipe=bad.yaml", "data.accept=[leak:dwell:click]") == 2
    assert "leak:dwell" not in capsys.readouterr().err
    assert command("fit", "recipe=bad.yaml", "data.accept=[funnel:buy]", "features.dwell=null") == 0
    assert "accept:\n  - funnel:buy" in Path("run/config.yaml").read_text()
    assert command("fit", "resume=run", "trainer.max_epochs=2") == 0


def test_what_a_user_names_as_known_after_the_event_is_refused(capsys):
    arguments = ("recipe=bad.yaml", "source.after_event=[dwell]", "data.accept=[funnel:buy]")
    for name in ("fit", "validate"):
        assert command(name, *arguments) == 2
        assert "features.dwell: leak: 'dwell' is known only after the event" in capsys.readouterr().err
    assert command("validate", *arguments, "features.dwell=null") == 0


def test_accepting_what_cannot_be_found_is_an_error(capsys):
    assert command("validate", "recipe=bad.yaml", "data.accept=[leak:dwel:click,drift:user:test]") == 2
    error = capsys.readouterr().err
    assert "data.accept: no finding can be called 'leak:dwel:click' (did you mean 'leak:dwell:click'?)" in error
    assert "drift:user:test" in error


def test_inspect_tells_the_same_on_the_terminal_as_json_and_as_a_page(capsys):
    arguments = ("data", "inspect", "recipe=bad.yaml", "data.accept=[funnel:buy]")
    assert command(*arguments, "--html", "page.html") == 0
    text = capsys.readouterr().out
    assert "leak:dwell:click" in text
    assert "serious, accepted" in text
    bars = [line for line in text.splitlines() if re.search("[▁▂▃▄▅▆▇█]{14}", line)]
    assert [line.split()[0] for line in bars] == ["click", "buy"]
    assert command(*arguments, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    levels = {finding["name"]: (finding["level"], finding["accepted"]) for finding in result["findings"]}
    assert levels["leak:dwell:click"] == ("serious", False)
    assert levels["funnel:buy"] == ("serious", True)
    assert result["features"]["dwell"]["alone"]["click"] == pytest.approx(1, abs=1e-3)
    assert sum(day["known"] for day in result["days"]["click"]) == 2000
    assert len(result["days"]["click"]) == 14
    assert result["roles"]["buy"] == "label of buy"
    assert result["roles"]["day"] == "split by time"
    page = Path("page.html").read_text()
    assert page.count("<svg") == 4
    assert "<script" not in page
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert all(name in page for name in levels)


def test_a_page_that_cannot_be_written_is_an_error(capsys):
    assert command("data", "inspect", "recipe=bad.yaml", "--html", "none/page.html") == 2
    assert "none/page.html can't be written" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", ["ads", "ecommerce", "news", "social", "agreement", "conflict"])
def test_recipes_pass_or_accept_by_name(recipe, capsys):
    assert command("data", "inspect", f"recipe={recipe}", "source.rows=6000", "--json") == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert [finding["name"] for finding in findings if finding["level"] == "serious" and not finding["accepted"]] == []
