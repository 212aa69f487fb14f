"""Settings of the whole suite, before torch is imported, and groups of tests that one worker runs."""

import os
import re
from collections import Counter
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest

# Two workers on two cores: torch's own threads would only wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

GROUP = re.compile(r'xdist_group\("([^"]+)"\)')
SHARES = re.compile(r'scope="(module|package|session)"')
MANY = 20
"""Tests of a file that are so short that one worker takes them all."""


@cache
def group_of(file: Path) -> str | None:
    """Group that a test file names by ``xdist_group``, the file itself if its tests share a fixture, or None."""
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    match = GROUP.search(text)
    return match[1] if match else str(file) if SHARES.search(text) else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Send a group to one worker, and a file whose tests share a fixture or are many.

    ``--dist=loadgroup`` of pytest-xdist 3.8 adds the group to the names of tests, which pytest 9.2 does not allow any
    more: without this, each worker would build what a group shares.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        @cached_property
        def counts(self) -> Counter[str]:
            return Counter(nodeid.split("::")[0] for nodeid in self.collection)

        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            return group_of(config.rootpath / file) or (file if self.counts[file] >= MANY else nodeid)

    config.option.loadscopereorder = False  # in the order of folders, what takes longest is not last
    return Groups(config, log) if config.getvalue("dist") == "loadgroup" else None
