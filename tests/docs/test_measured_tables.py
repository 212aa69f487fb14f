"""Benchmarks write their tables into the pages that have a place for them."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("into", ROOT / "benchmarks" / "into.py")
into = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(into)
PROGRAMS = [path for path in (ROOT / "benchmarks").rglob("*.py") if "into.show(" in path.read_text()]


def test_only_the_place_is_replaced(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n<!-- a -->\n\nold\n\n<!-- /a -->\n\n<!-- b -->\n<!-- /b -->\nend\n")
    into.show("| new |\n|---|", "a", page)
    into.show("two", "b", page)
    expected = "# Page\n\n<!-- a -->\n\n| new |\n|---|\n\n<!-- /a -->\n\n<!-- b -->\n\ntwo\n\n<!-- /b -->\nend\n"
    assert page.read_text() == expected
    into.show("two", "b", page)
    assert page.read_text() == expected
    with pytest.raises(SystemExit, match="no place"):
        into.show("x", "c", page)
    into.show("printed only", "a", None)
    assert "printed only" in capsys.readouterr().out
    assert page.read_text() == expected


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: str(path.relative_to(ROOT / "benchmarks")))
def test_the_page_that_a_program_names_has_its_place(program):
    text = program.read_text()
    page = re.search(r'add_option\(parser, "(.+?)"\)', text)[1]
    name = re.search(r'into\.show\((?:.|\n)+?, f?"([^"]+)", arguments\.into\)', text)[1]
    shown = (ROOT / page).read_text()
    words = re.sub(r"\{.+?\}", r"\\w+", name)  # a name with the value of an option has a place per value
    names = re.findall(rf"<!-- ({words}) -->\n", shown)
    assert names
    assert sorted(names) == sorted(set(re.findall(rf"<!-- /({words}) -->\n", shown)))


RESULTS = sorted(path for path in (ROOT / "benchmarks" / "results").glob("*.md") if path.name != "README.md")


@pytest.mark.parametrize("page", RESULTS, ids=lambda path: path.stem)
def test_results_have_a_date_a_command_and_a_place_in_the_overview(page):
    text = page.read_text()
    assert re.search(
        r"\b\d{1,2} (January|February|March|April|May|June|July|August|September|October|November|December) 20\d\d",
        text,
    )
    assert re.search(r"(python benchmarks/|mtl-lightning )\S+", text)
    assert f"({page.name})" in (page.parent / "README.md").read_text()
    (conclusions,) = set(re.findall(r"Conclusions: \[\w+\]\(([^)#]+)", text))
    assert f"benchmarks/results/{page.name}" in (page.parent / conclusions).read_text()
