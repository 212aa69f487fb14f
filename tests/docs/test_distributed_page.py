"""The commands of docs/distributed.md are ones that the shell and the configuration accept."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from mtl_lightning.config import compose, validate

PAGE = (Path(__file__).parents[2] / "docs" / "distributed.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [shlex.split(result) for result in re.findall(r"mtl_lightning fit (recipe=.*)", "\n".join(BLOCKS))]


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_shell_reads_it(block):
    assert subprocess.run(["bash", "-n", "-c", block], check=False).returncode == 0


@pytest.mark.parametrize("pairs", COMMANDS, ids=range(len(COMMANDS)))
def test_the_settings_are_valid(pairs):
    (recipe,) = (pair.removeprefix("recipe=") for pair in pairs if pair.startswith("recipe="))
    validate(compose(recipe, [pair for pair in pairs if not pair.startswith("recipe=")]).plain)


def test_the_page_has_a_command_for_each_launcher():
    assert len(COMMANDS) == len(BLOCKS) == 4
    for setting in ("run.timeout", "run.checkpoint_every", "data.cache_dir", "trainer.precision"):
        section, option = setting.split(".")
        assert f"`{setting}" in PAGE
        assert section == "trainer" or option in validate(compose("ads", []).plain).plain[section]
