"""The served export, and its replacement while requests are answered."""

import logging
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from mtl_lightning.errors import MtlError
from mtl_lightning.export.bundle import Bundle
from mtl_lightning.export.device import CPU
from mtl_lightning.export.manifest import NAME
from mtl_lightning.plugins import registry
from mtl_lightning.plugins.versions import plugin_changes
from mtl_lightning.serve.trial import attempt

LOG = logging.getLogger("mtl_lightning.serve")
FileState = tuple[str, int, int, int, int]
"""Path, inode, times of change and modification, and size of a file."""

LONGEST = 1000
"""Largest number of characters of a failure's reason."""


@dataclass(frozen=True)
class FolderState:
    """State of the folder of an export.

    Args:
        manifest: State of the manifest; None if there is none.
        files: States of all files in the folder.
        reason: Reason why there is no manifest or no list of files; may be empty.
    """

    manifest: FileState | None
    files: tuple[FileState, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Failure:
    """Failure to serve a new export.

    Args:
        reason: Reason of the failure.
        at: Unix time of the failure, in seconds.
    """

    reason: str
    at: float


class LiveExport:
    """An export that is replaced when its folder, or the link to the folder, changes.

    A request is answered by one export; later requests are answered by the new one. If an export cannot be opened or
    fails its trial, the failure is logged and stored in ``failure``, and the old export is served. The new export is
    tried again when its files have changed and two checks see the same state, as after a copy.

    Args:
        folder: Folder of the export, or a link to it.
        threads: Number of threads of a call of the model.
        device: ``cpu``, ``cuda`` or ``cuda:<number>``.

    Raises:
        MtlError: If the export cannot be opened when the service starts.

    Example:
        ``LiveExport(Path("exports/current")).refresh()``
    """

    def __init__(self, folder: Path, threads: int = 1, device: str = CPU) -> None:
        self.folder, self.device = folder, device
        self.threads = threads
        self.failure: Failure | None = None
        self._lock = threading.Lock()
        self._tried = self._last = self._folder_state()
        try:
            self.bundle = self._open()
        except MtlError:
            raise
        except Exception as error:
            raise MtlError(f"{folder} can't be served: {_reason(error)}") from error

    def refresh(self) -> bool | None:
        """Serve a new export if the folder has changed.

        Any exception that an export causes is the reason of a failure, and is not raised.

        Returns:
            True if a new export is served, False if it failed, None if there is no new export.
        """
        with self._lock:
            state, before = self._folder_state(), self._last
            self._last = state
            new = state.manifest is not None and state.manifest != self._tried.manifest
            settled = state == before and state != self._tried and (self.failure is not None or state.manifest is None)
            if not new and not settled:
                return None
            self._tried = state
            try:
                if state.manifest is None:
                    raise MtlError(state.reason)
                fresh = self._open()
            except Exception as error:  # noqa: BLE001 - an export from elsewhere may fail in any way
                self.failure = Failure(_reason(error), time.time())
                LOG.error("the new export is not served: %s", self.failure.reason)
                return False
            LOG.info("serving %s instead of %s", fresh.identity[:12], self.bundle.identity[:12])
            self.bundle, self.failure = fresh, None
            return True

    def _open(self) -> Bundle:
        # Resolve the link first, so that a change of the link does not mix two exports.
        bundle = Bundle.open(self.folder.resolve(), threads=self.threads, device=self.device)
        if changes := plugin_changes(bundle.manifest.plugins, registry().versions()):
            LOG.warning("the installed plugins differ from the plugins of the export: %s", "; ".join(changes))
        attempt(bundle)
        return bundle

    def _folder_state(self) -> FolderState:
        try:
            manifest = _file_state(os.path.realpath(self.folder / NAME, strict=True))
        except (OSError, RuntimeError, ValueError) as error:  # as while a folder is renamed
            return FolderState(None, reason=f"{self.folder} has no {NAME} that can be read: {_reason(error)}")
        try:
            with os.scandir(self.folder) as entries:
                return FolderState(manifest, tuple(sorted(_file_state(entry.path) for entry in entries)))
        except OSError as error:
            return FolderState(manifest, reason=_reason(error))


def _file_state(path: str) -> FileState:
    status = os.lstat(path)
    return path, status.st_ino, status.st_ctime_ns, status.st_mtime_ns, status.st_size


def _reason(error: Exception) -> str:
    """Return the printable message of an error, in one line."""
    text = str(error)
    if not isinstance(error, MtlError):
        text = f"{type(error).__name__}: {text.strip().partition(chr(10))[0]}"
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text[:LONGEST])
