"""Checkpoint files: written whole or not at all, made of plain containers, read without running code."""

import os
import pickle
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO
from torch import Tensor

from mtl_lightning.errors import MtlError
from mtl_lightning.rundir import LAST, PREVIOUS, SHARDS, TEMPORARY

PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.Size, torch.dtype, torch.device)
UNREADABLE = (RuntimeError, EOFError, OSError, KeyError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile)
"""What reading raises on files that are cut off or damaged."""


def require_plain(value: Any, where: str = "checkpoint") -> None:
    """Check that a value can be loaded again without running code.

    Args:
        value: Nested containers of tensors, numbers and strings.
        where: Name of the value in the error.

    Raises:
        MtlError: If anything else is in it, with the place.

    Example:
        >>> require_plain({"weights": [torch.ones(2), 1.0], "name": "ads"})
        >>> require_plain({"callbacks": {"mine": {"path": Path("x")}}})
        Traceback (most recent call last):
        ...
        mtl_lightning.errors.MtlError: checkpoint.callbacks.mine.path is a PosixPath, which no checkpoint may hold...
    """
    if type(value) in PLAIN or isinstance(value, Tensor):
        return
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            require_plain(key, f"{where} (key)")
            require_plain(item, f"{where}.{key}")
    elif type(value) in (list, tuple, set):
        for index, item in enumerate(value):
            require_plain(item, f"{where}[{index}]")
    else:
        raise MtlError(
            f"{where} is a {type(value).__name__}, which no checkpoint may hold",
            "state must be plain containers of tensors, numbers and strings",
        )


class AtomicCheckpointIO(CheckpointIO):
    """Writes beside the target, syncs, then renames; keeps the last checkpoint but one.

    A process that dies at any moment leaves ``last.ckpt``, or at least ``previous.ckpt``, whole. The file is streamed
    to disk: a checkpoint costs no second copy in memory. Only the first process writes (Lightning sees to that).

    Args:
        plugins: Versions of the plugins, saved in every checkpoint.

    Raises:
        MtlError: When a checkpoint can't be written, holds objects that can't be loaded safely, or is damaged and has
            no predecessor.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "last.ckpt"
        >>> io = AtomicCheckpointIO({"core": "0.1"})
        >>> io.save_checkpoint({"state_dict": {"w": torch.ones(1)}}, path)
        >>> sorted(io.load_checkpoint(path)), [file.name for file in path.parent.iterdir()]
        (['plugins', 'state_dict'], ['last.ckpt'])
    """

    def __init__(self, plugins: Mapping[str, str] | None = None) -> None:
        self.plugins = dict(plugins or {})

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write a checkpoint; ``storage_options`` are for remote stores, which are not supported."""
        target = Path(path)
        # Spawned strategies send bare weights through here: they are no checkpoint and get no versions.
        content = {**checkpoint, "plugins": self.plugins} if "state_dict" in checkpoint else checkpoint
        require_plain(content)
        partial = target.with_name(target.name + TEMPORARY)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())
            if target.name == LAST and target.exists():
                target.replace(target.with_name(PREVIOUS))
            partial.replace(target)
            _sync_directory(target.parent)
        except (OSError, RuntimeError) as error:
            partial.unlink(missing_ok=True)
            raise MtlError(f"the checkpoint {target} can't be written: {error}", "is the disk full?") from error

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any | None = "cpu",
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        """Read a checkpoint, always without running code; a damaged last one gives way to its predecessor."""
        target = Path(path)
        try:
            return _read(target, map_location)
        except UNREADABLE as error:
            previous = target.with_name(PREVIOUS)
            if target.name != LAST or not previous.is_file():
                raise MtlError(
                    f"the checkpoint {target} is damaged or no checkpoint: {_first_line(error)}",
                    "start again, or put another checkpoint in its place",
                ) from error
            warnings.warn(f"{target} is damaged ({_first_line(error)}); going on from {previous.name}", stacklevel=2)
        try:
            return _read(previous, map_location)
        except UNREADABLE as error:
            raise MtlError(f"{target} and {previous.name} are damaged: {_first_line(error)}", "start again") from error

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint if it is there."""
        Path(path).unlink(missing_ok=True)


def _read(path: Path, map_location: Any) -> dict[str, Any]:
    # torch reads the archive's checksums but does not compare them.
    with zipfile.ZipFile(path) as archive:
        # Torch stores tensors as they are: what unpacks to more was made by somebody else, to fill the memory.
        if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
            raise zipfile.BadZipFile("it unpacks to more than its file holds")
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"bad checksum of {damaged}")
    checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    if not isinstance(checkpoint, dict):
        raise pickle.UnpicklingError(f"it holds a {type(checkpoint).__name__}")
    _require_stored(checkpoint, "")
    for state in checkpoint.get("state_dict", {}).values():  # shards lie beside the file, wherever that is by now
        if isinstance(state, dict) and state.get(SHARDS):
            state[SHARDS] = str(path.parent / Path(state[SHARDS]).name)
    return checkpoint


def _require_stored(value: Any, where: str) -> None:
    """Refuse tensors whose shape claims more than is stored of them: the first copy of one would fill the memory."""
    if isinstance(value, Tensor):
        if value.layout == torch.strided and value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise pickle.UnpicklingError(f"{where} {list(value.shape)} is larger than what is stored of it")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _require_stored(item, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _require_stored(item, f"{where}[{index}]")


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__


def _sync_directory(path: Path) -> None:
    """Make a rename survive a power cut; not every platform can open a directory."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
