"""Checkpoint files: written atomically, limited to plain containers, and read without running code."""

import os
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO

from mtl_lightning.errors import MtlError
from mtl_lightning.files import TEMPORARY, open_regular
from mtl_lightning.runs.checkpoint_content import check_content, host_copy, require_plain
from mtl_lightning.runs.directory import LAST, PREVIOUS
from mtl_lightning.training.sharded import SHARDS

Expect = Callable[[dict[str, Any]], None]
BARE = ".temp.ckpt"
"""Lightning's file of bare weights, with which a spawned process returns them."""


class CheckpointError(MtlError):
    """A checkpoint that can't be used.

    Args:
        message: The checkpoint, and the reason.
        hint: A remedy.
        reason: The reason alone.
    """

    def __init__(self, message: str, hint: str = "", reason: str = "") -> None:
        super().__init__(message, hint)
        self.reason = reason or message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.hint, self.reason)


class UnfitError(MtlError):
    """An intact checkpoint of another model; its message follows the name of the file."""


class AtomicCheckpointIO(CheckpointIO):
    """Writes a temporary file, syncs it, then renames it; keeps the previous ``last.ckpt``.

    A process that dies at any moment leaves ``last.ckpt``, or at least ``previous.ckpt``, intact. The file is streamed
    to disk: a checkpoint needs no second copy in memory. Only the first process writes; Lightning ensures that.

    Args:
        plugins: Versions of the plugins, saved in every checkpoint.
        expect: Raises an MtlError for a checkpoint that its reader can't use. It then counts as damaged.
        background: Copy the state to the host's memory, and write the copy in a thread while training continues. One
            checkpoint is written at a time: :meth:`finish` waits for it, and so does the next one.

    Raises:
        MtlError: If a checkpoint can't be written, or contains objects that can't be loaded safely. In the background,
            :meth:`finish` and the next :meth:`save_checkpoint` raise it.
        CheckpointError: If a checkpoint is damaged and has no usable predecessor.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "last.ckpt"
        >>> io = AtomicCheckpointIO({"core": "0.1"})
        >>> io.save_checkpoint({"state_dict": {"w": torch.ones(1)}}, path)
        >>> sorted(io.load_checkpoint(path)), [file.name for file in path.parent.iterdir()]
        (['plugins', 'state_dict'], ['last.ckpt'])
    """

    def __init__(
        self, plugins: Mapping[str, str] | None = None, expect: Expect | None = None, *, background: bool = False
    ) -> None:
        self.plugins = dict(plugins or {})
        self.expect = expect
        self.background = background
        self._writing: Future[None] | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write a checkpoint; ``storage_options`` belong to remote stores, which are not supported."""
        target = Path(path)
        # Spawned strategies also write bare weights with this method: they are not a checkpoint and get no versions.
        content = {**checkpoint, "plugins": self.plugins} if "state_dict" in checkpoint else checkpoint
        require_plain(content)
        self.finish()
        if self.background and content is not checkpoint:
            executor = ThreadPoolExecutor(1, "checkpoint")
            self._writing = executor.submit(self._write, host_copy(content), target)
            executor.shutdown(wait=False)
        else:
            self._write(content, target)

    def finish(self) -> None:
        """Wait until the checkpoint in the background is written.

        Raises:
            MtlError: If it can't be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def teardown(self) -> None:
        """Finish; Lightning calls this after training."""
        self.finish()

    def _write(self, content: dict[str, Any], target: Path) -> None:
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
        """Read a checkpoint without running code; its predecessor replaces a damaged last one."""
        target = Path(path)
        try:
            return self._checked(target, map_location)
        except CheckpointError as error:
            previous = target.with_name(PREVIOUS)
            if target.name != LAST or not previous.exists():
                raise
            reason = error.reason
            warnings.warn(f"{target} is damaged ({reason}); continuing with {previous.name}", stacklevel=2)
        try:
            return self._checked(previous, map_location)
        except CheckpointError as error:
            reasons = reason if error.reason == reason else f"{reason}; {error.reason}"
            message = f"{target} and {previous.name} are damaged: {reasons}"
            raise CheckpointError(message, error.hint, error.reason) from error

    def _checked(self, path: Path, map_location: Any) -> dict[str, Any]:
        try:
            checkpoint = _read(path, map_location)
            if self.expect is not None and path.name != BARE:
                self.expect(checkpoint)
        except UnfitError as error:
            raise CheckpointError(f"{path} {error.message}", error.hint, error.message) from error
        except Exception as error:  # unpickling raises errors of any type on altered files
            reason = error.message if isinstance(error, MtlError) else _first_line(error)
            hint = error.hint if isinstance(error, MtlError) and error.hint else ""
            raise CheckpointError(
                f"the checkpoint {path} is damaged or not a checkpoint: {reason}",
                hint or "start again, or replace it by another checkpoint",
                reason,
            ) from error
        return checkpoint

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint if it exists."""
        Path(path).unlink(missing_ok=True)


def _read(path: Path, map_location: Any) -> dict[str, Any]:
    open_regular(path).close()
    # torch reads the archive's checksums but does not compare them.
    with zipfile.ZipFile(path) as archive:
        # Torch stores tensors uncompressed: an archive that unpacks to more is a zip bomb.
        if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
            raise zipfile.BadZipFile("it unpacks to more than its file holds")
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"bad checksum of {damaged}")
    checkpoint: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
    if not isinstance(checkpoint, dict):
        raise pickle.UnpicklingError(f"it holds a {type(checkpoint).__name__}")
    check_content(checkpoint, path.stat().st_size)
    for state in checkpoint.get("state_dict", {}).values():  # shards are next to the file, which may have moved
        if isinstance(state, dict) and state.get(SHARDS):
            state[SHARDS] = str(path.parent / Path(state[SHARDS]).name)
    return checkpoint


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__


def _sync_directory(path: Path) -> None:
    """Make a rename survive a power failure; not every platform can open a directory."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
