"""Settings of the whole suite, before torch is imported, and groups of tests that one worker runs."""

import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

# Two workers on two cores: torch's own threads would only wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

GROUP = re.compile(r'xdist_group\("([^"]+)"\)')


@cache
def group_of(file: Path) -> str | None:
    """Group that a test file names by ``xdist_group``, or None."""
    match = GROUP.search(file.read_text(encoding="utf-8")) if file.is_file() else None
    return match and match[1]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Send all files of a group to one worker.

    ``--dist=loadgroup`` of pytest-xdist 3.8 adds the group to the names of tests, which pytest 9.2 does not allow any
    more: without this, each worker would build what a group shares.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(config.rootpath / nodeid.split("::")[0]) or nodeid

    return Groups(config, log) if config.getvalue("dist") == "loadgroup" else None
