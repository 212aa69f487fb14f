"""Every snippet of the README runs, in order and in one directory, as a reader would run it."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from snippets import run_snippet

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"^```([^\n]*)\n(.*?)^```$", README.read_text(), flags=re.MULTILINE | re.DOTALL)


def test_every_block_says_what_it_is():
    assert {language for language, _ in BLOCKS} <= {"sh", "sh setup", "python", "text"}


def test_two_commands_set_up_a_fresh_machine():
    install, test = (line for language, code in BLOCKS if language == "sh setup" for line in code.splitlines())
    for command in (install, test):
        assert "-c constraints.txt" in command
        assert subprocess.run(["bash", "-n", "-c", command], check=False).returncode == 0
    assert install.endswith("-m mtl_lightning fit recipe=ads")
    assert shlex.split(test)[-4:] == ["pytest", "-q", "-n", "2"]


def test_the_first_screen_is_a_sentence_a_picture_and_commands_with_their_output():
    first = README.read_text().split("\n## ")[0]
    assert first.index("![") < first.index("```sh setup")
    languages = re.findall(r"^```(\w[^\n]*)$", first, flags=re.MULTILINE)
    assert languages == ["sh setup", *["sh", "text"] * 3]


def shape(line: str) -> str:
    """A line of output with its digits replaced, and single spaces."""
    return " ".join(re.sub(r"\d", "0", line).split())


@pytest.mark.timeout(900)
def test_snippets_run_in_order(tmp_path):
    printed: set[str] = set()
    for language, code in BLOCKS:
        if language == "sh setup":
            continue
        if language == "text":  # a part of the output above it, whatever the figures
            assert [line for line in code.splitlines() if line and shape(line) not in printed] == []
            continue
        printed = {shape(line) for line in run_snippet(language, code, tmp_path).splitlines()}
    assert list(tmp_path.glob("runs/ads/*/metrics.json"))
    assert list(tmp_path.glob("runs/mine/*/metrics.json"))


def test_the_first_page_of_the_site_shows_the_same():
    top = README.read_text().split("\n## From Python")[0].partition("\nMulti-task")[2]
    page = (README.parent / "docs" / "README.md").read_text()
    assert top.replace("](docs/", "](") in page
