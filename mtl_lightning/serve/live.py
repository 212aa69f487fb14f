"""The export that is being served, and its replacement while requests go on."""

import logging
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from mtl_lightning.errors import MtlError
from mtl_lightning.export.bundle import Bundle
from mtl_lightning.export.manifest import NAME
from mtl_lightning.plugins import registry
from mtl_lightning.plugins.versions import plugin_changes
from mtl_lightning.serve.trial import attempt

File = tuple[str, int, int, int, int]
LOG = logging.getLogger("mtl_lightning.serve")
LONGEST = 1000
"""Characters of a failure's reason."""


@dataclass(frozen=True)
class Look:
    """What the export's folder looks like.

    Args:
        manifest: The manifest's path, and what changes with it; None if there is none.
        files: The same for every file of the folder.
        reason: Why there is no manifest; may be empty.
    """

    manifest: File | None
    files: tuple[File, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Failure:
    """A new export that was not taken.

    Args:
        reason: What is wrong with it.
        at: Unix time.
    """

    reason: str
    at: float


class Live:
    """Holds one export, and takes a new one when the folder (or the link that names it) changes.

    A request keeps the export that it began with; the next one gets the new one. An export that can't be opened, or
    fails its trial, is logged and kept in ``failure``, and the old one stays. It is tried again once its files have
    changed and are the same in two looks, as at the end of a copy.

    Args:
        folder: The export, or a link to it.
        threads: Threads of one call of the model.

    Raises:
        MtlError: If the export can't be opened when the service starts.

    Example:
        ``Live(Path("exports/current")).refresh()``
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self.folder = folder
        self.threads = threads
        self.failure: Failure | None = None
        self._lock = threading.Lock()
        self._tried = self._last = self._look()
        try:
            self.bundle = self._open()
        except MtlError:
            raise
        except Exception as error:
            raise MtlError(f"{folder} can't be served: {_told(error)}") from error

    def refresh(self) -> bool | None:
        """Look at the folder: True if a new export was taken, False if it wasn't, None if nothing changed.

        Whatever an export brings about is a reason not to take it, and never an exception here.
        """
        with self._lock:
            look, before = self._look(), self._last
            self._last = look
            new = look.manifest is not None and look.manifest != self._tried.manifest
            settled = look == before and look != self._tried and (self.failure is not None or look.manifest is None)
            if not new and not settled:
                return None
            self._tried = look
            try:
                if look.manifest is None:
                    raise MtlError(look.reason)
                fresh = self._open()
            except Exception as error:  # noqa: BLE001 - an export from elsewhere may fail in any way
                self.failure = Failure(_told(error), time.time())
                LOG.error("the new export is not taken: %s", self.failure.reason)
                return False
            LOG.info("serving %s instead of %s", fresh.identity[:12], self.bundle.identity[:12])
            self.bundle, self.failure = fresh, None
            return True

    def _open(self) -> Bundle:
        # The link's target, so that a link that changes meanwhile doesn't mix two exports.
        bundle = Bundle.open(self.folder.resolve(), threads=self.threads)
        if changes := plugin_changes(bundle.manifest.plugins, registry().versions()):
            LOG.warning("plugins differ from those of the export: %s", "; ".join(changes))
        attempt(bundle)
        return bundle

    def _look(self) -> Look:
        try:
            manifest = _file(os.path.realpath(self.folder / NAME, strict=True))
        except (OSError, RuntimeError, ValueError) as error:  # as between two names of a folder
            return Look(None, reason=f"{self.folder} has no {NAME} that can be read: {_told(error)}")
        try:
            with os.scandir(self.folder) as found:
                return Look(manifest, tuple(sorted(_file(one.path) for one in found)))
        except OSError as error:
            return Look(manifest, reason=_told(error))


def _file(path: str) -> File:
    found = os.lstat(path)
    return path, found.st_ino, found.st_ctime_ns, found.st_mtime_ns, found.st_size


def _told(error: Exception) -> str:
    told = str(error)
    if not isinstance(error, MtlError):
        told = f"{type(error).__name__}: {told.strip().partition(chr(10))[0]}"
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in told[:LONGEST])
