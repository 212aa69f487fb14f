"""A full disk under a run: what failed is named, and the advice that is printed works once there is space."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from warm_python import warm_python

RNG = np.random.default_rng(0)
RECIPE = """
extends: base
source: {name: table, path: log.csv}
features: {user: categorical, price: numeric}
tasks: {click: {kind: binary, label: click}}
encoder: {width: 16}
architecture: {name: shared_bottom, hidden: [64]}
data: {batch_size: 64}
trainer: {max_epochs: 2, accelerator: cpu, enable_progress_bar: false}
run: {dir: disk/run}
"""


def mounted(size: str, folder: Path, *options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", ",".join([*options, f"size={size}"]), "tmpfs", str(folder)]
    return (
        shutil.which("mount") is not None and not subprocess.run(command, capture_output=True, check=False).returncode
    )


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file system of its own, of 1 MB until a test makes it smaller; the recipe and its log are next to it."""
    lines = (f"u{RNG.integers(9)},{RNG.random():.3f},{RNG.integers(2)}" for _ in range(200))
    (tmp_path / "log.csv").write_text("user,price,click\n" + "\n".join(lines) + "\n")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mounted("1m", folder):
        pytest.skip("mounting a file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [warm_python(), "-m", "mtl_lightning", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("size", ["60k", "200k"])
def test_what_is_advised_at_a_checkpoint_works(disk: Path, size: str) -> None:
    assert mounted(size, disk, "remount")
    failed = run("fit", "recipe=recipe.yaml")
    said = failed.stdout + failed.stderr
    assert failed.returncode == 1, said
    assert "can't be written" in said
    assert "Traceback" not in said
    saved = (disk / "run" / "checkpoints" / "last.ckpt").is_file()
    assert saved == (size == "200k")
    assert ("Saved in" in said) == saved
    assert ("no checkpoint to continue from; to start again from the beginning" in said) == (not saved)
    (advice,) = re.findall(r"python -m mtl_lightning (fit .*)", said)
    assert mounted("4m", disk, "remount")
    again = run(*shlex.split(advice))
    assert again.returncode == 0, again.stdout + again.stderr
    assert ("there is no checkpoint yet" in again.stdout) == (not saved)


@pytest.mark.parametrize("size", ["4k", "12k"])
def test_a_disk_that_is_full_from_the_start_is_named(disk: Path, size: str) -> None:
    assert mounted(size, disk, "remount")
    failed = run("fit", "recipe=recipe.yaml")
    said = failed.stdout + failed.stderr
    assert failed.returncode in (1, 2), said
    assert re.search("disk/run.* can't be written: No space left on device", said), said
    assert "Traceback" not in said
    assert mounted("4m", disk, "remount")
    verb = "resume=disk/run" if (disk / "run" / "config.yaml").is_file() else "recipe=recipe.yaml"
    again = run("fit", verb)
    assert again.returncode == 0, again.stdout + again.stderr
