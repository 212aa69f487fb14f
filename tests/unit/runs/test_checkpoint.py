"""Checkpoint files survive what happens to files, and never run code."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mtl_lightning.errors import MtlError
from mtl_lightning.runs.checkpoint import AtomicCheckpointIO, require_plain
from mtl_lightning.runs.directory import LAST, PREVIOUS


def content(value: float) -> dict[str, Any]:
    return {"state_dict": {"w": torch.full((50_000,), value)}, "step": int(value)}


@pytest.fixture
def two(tmp_path: Path) -> Path:
    io = AtomicCheckpointIO({"core": "1"})
    for value in (1, 2):
        io.save_checkpoint(content(value), tmp_path / LAST)
    return tmp_path


def test_the_last_but_one_is_kept(two: Path) -> None:
    io = AtomicCheckpointIO()
    assert sorted(path.name for path in two.iterdir()) == [LAST, PREVIOUS]
    assert io.load_checkpoint(two / LAST)["step"] == 2
    assert io.load_checkpoint(two / PREVIOUS)["step"] == 1
    assert io.load_checkpoint(two / LAST)["plugins"] == {"core": "1"}


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, -1], ids=str)
def test_a_truncated_checkpoint_gives_way_to_its_predecessor(two: Path, keep: float) -> None:
    raw = (two / LAST).read_bytes()
    (two / LAST).write_bytes(raw[: int(keep * len(raw)) if isinstance(keep, float) else keep])
    with pytest.warns(UserWarning, match=r"last\.ckpt is damaged .*previous"):
        assert AtomicCheckpointIO().load_checkpoint(two / LAST)["step"] == 1


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9, 0.99])
def test_flipped_bits_are_noticed(two: Path, place: float) -> None:
    raw = bytearray((two / LAST).read_bytes())
    for offset in range(int(place * len(raw)), int(place * len(raw)) + 64):
        raw[offset] ^= 0xFF
    (two / LAST).write_bytes(raw)
    with pytest.warns(UserWarning, match="damaged"):
        assert AtomicCheckpointIO().load_checkpoint(two / LAST)["step"] == 1


def test_damage_without_a_predecessor_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "best.ckpt").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(MtlError, match=r"best\.ckpt is damaged"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "best.ckpt")
    for name in (LAST, PREVIOUS):
        (tmp_path / name).write_bytes(b"")
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(MtlError, match=r"previous\.ckpt are damaged"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / LAST)


class Opener:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_with_code_is_refused_whatever_the_caller_asks(tmp_path: Path) -> None:
    torch.save({"state_dict": Opener(tmp_path / "owned")}, tmp_path / "evil.ckpt", pickle_module=pickle)
    with pytest.raises(MtlError, match="damaged or not a checkpoint"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "evil.ckpt", weights_only=False)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("value", [np.float64(1.0), Path("x"), object(), {1: {"a": [lambda: None]}}])
def test_what_can_not_be_loaded_is_refused_before_anything_is_written(tmp_path: Path, value: Any) -> None:
    with pytest.raises(MtlError, match=r"checkpoint\.callbacks\.mine"):
        AtomicCheckpointIO().save_checkpoint({"callbacks": {"mine": value}}, tmp_path / LAST)
    assert list(tmp_path.iterdir()) == []


def test_whatever_is_plain_is_loadable(tmp_path: Path) -> None:
    value = {"a": (1, 2.5, None, True, "ß", b"x", 1j), 3: [torch.ones(2), {"s"}], "d": torch.float64}
    require_plain(value)
    AtomicCheckpointIO().save_checkpoint(value, tmp_path / "x.ckpt")
    loaded = AtomicCheckpointIO().load_checkpoint(tmp_path / "x.ckpt")
    assert loaded["a"] == value["a"]
    assert loaded["d"] is torch.float64


def test_a_full_disk_is_an_error_that_leaves_the_old_checkpoint(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MtlError, match="No space left"):
        AtomicCheckpointIO().save_checkpoint(content(3), two / LAST)
    assert sorted(path.name for path in two.iterdir()) == [LAST, PREVIOUS]
    assert AtomicCheckpointIO().load_checkpoint(two / LAST)["step"] == 2


def test_what_is_written_in_the_background_is_what_was_saved(two: Path) -> None:
    io, weight = AtomicCheckpointIO(background=True), torch.zeros(500_000)
    state: Any = OrderedDict(a=weight, b=weight, part=weight[::2])
    state._metadata = {"": {"version": 2}}
    history = [{"step": 1}]
    io.save_checkpoint({"state_dict": state, "history": history, "names": ("x", {"y"})}, two / LAST)
    weight += 1
    history[0]["step"] = 2
    io.finish()
    saved = io.load_checkpoint(two / LAST)
    assert [float(saved["state_dict"][name].sum()) for name in state] == [0.0, 0.0, 0.0]
    assert saved["state_dict"]["a"].data_ptr() == saved["state_dict"]["b"].data_ptr()
    assert saved["state_dict"]._metadata == state._metadata
    assert (saved["history"], saved["names"]) == ([{"step": 1}], ("x", {"y"}))


def test_bare_weights_are_written_at_once(tmp_path: Path) -> None:
    # Lightning's spawned processes return with them, and do not wait for a thread.
    AtomicCheckpointIO(background=True).save_checkpoint({"w": torch.ones(1)}, tmp_path / ".temp.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == [".temp.ckpt"]


WRITER = """
import sys, torch
from pathlib import Path
from mtl_lightning.runs.checkpoint import AtomicCheckpointIO
io, step = AtomicCheckpointIO(background=sys.argv[2] == "background"), 0
while True:
    step += 1
    io.save_checkpoint({"step": step, "state_dict": {"w": torch.full((2_000_000,), step)}}, Path(sys.argv[1]))
"""


def test_a_process_killed_while_writing_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    target = tmp_path / LAST
    for how in ("background", "foreground", "background"):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(target), how])
        partial = target.with_name(LAST + ".partial")
        deadline = time.monotonic() + 60
        while not (target.exists() and partial.exists()) and time.monotonic() < deadline:
            time.sleep(0.0005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        name = LAST if target.exists() else PREVIOUS
        checkpoint = AtomicCheckpointIO().load_checkpoint(tmp_path / name)
        assert bool((checkpoint["state_dict"]["w"] == checkpoint["step"]).all())
