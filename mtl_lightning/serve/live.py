"""The export that is being served, and its replacement while requests go on."""

import logging
import threading
from pathlib import Path

import numpy as np

from mtl_lightning.errors import MtlError
from mtl_lightning.export.bundle import Bundle
from mtl_lightning.export.manifest import NAME
from mtl_lightning.plugins import registry
from mtl_lightning.rundir import plugin_changes

Stamp = tuple[str, int, int, int]
LOG = logging.getLogger("mtl_lightning.serve")


class Live:
    """Holds one export, and takes a new one when the folder (or the link that names it) changes.

    A request keeps the export that it began with; the next one gets the new one. An export that can't be opened is
    told in the log, and the old one goes on.

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
        self._lock = threading.Lock()
        self._seen = self._stamp()
        self.bundle = self._open()

    def refresh(self) -> bool | None:
        """Look at the folder: True if a new export was taken, False if it can't be opened, None if nothing changed."""
        with self._lock:
            stamp = self._stamp()
            if stamp is None or stamp == self._seen:
                return None
            self._seen = stamp
            try:
                fresh = self._open()
            except MtlError as error:
                LOG.error("the new export is not taken: %s", error)
                return False
            LOG.info("serving %s instead of %s", fresh.identity[:12], self.bundle.identity[:12])
            self.bundle = fresh
            return True

    def _open(self) -> Bundle:
        # The link's target, so that a link that changes meanwhile doesn't mix two exports.
        bundle = Bundle.open(self.folder.resolve(), threads=self.threads)
        if changes := plugin_changes(bundle.manifest.plugins, registry().versions()):
            LOG.warning("plugins differ from those of the export: %s", "; ".join(changes))
        for one in (1, 2):  # the first call of a graph is slow: no request should wait for it
            bundle.run({item["name"]: _blank(item, one) for item in bundle.manifest.inputs})
        return bundle

    def _stamp(self) -> Stamp | None:
        """Which file the manifest is; None while there is none, as between two names of a folder."""
        try:
            path = (self.folder / NAME).resolve(strict=True)
            found = path.stat()
        except OSError:
            return None
        return str(path), found.st_ino, found.st_mtime_ns, found.st_size


def _blank(item: dict[str, object], rows: int) -> np.ndarray:
    shape = item["shape"]
    assert isinstance(shape, list)
    return np.zeros((rows, *shape[1:]), dtype=str(item["dtype"]))
