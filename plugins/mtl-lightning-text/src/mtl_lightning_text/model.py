"""A frozen language model: where its files are, what they are, and texts → vectors."""

import functools
import hashlib
import importlib.util
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mtl_lightning.errors import DataError

PACKAGE = "package:"
"""``package:name/folder``: files inside an installed package."""
CONTENT = (".json", ".txt", ".model", ".safetensors", ".bin")
"""Endings of the files that make a model; a hub's page and exports to other formats don't count."""
BUSY = threading.Lock()
"""Features are encoded in several threads; a model's tokenizer can't be."""


@dataclass(frozen=True)
class LocalModel:
    """A model's files.

    Args:
        path: Their directory.
        length: Tokens that the model sees of a text; None for as many as its configuration says.
        device: Where it runs; None for the best there is.
        precision: Of its weights.
    """

    path: Path
    length: int | None = None
    device: str | None = None
    precision: str = "float32"

    def digest(self) -> str:
        """A hash of the files, and of what changes vectors."""
        return f"{content(self.path)}-{self.length or 'full'}-{self.precision}"

    def embed(self, texts: Sequence[str], batch_size: int) -> np.ndarray:
        """Vectors [n, d] float32, pooled and normalised as the model's own configuration says (else the mean)."""
        with BUSY:
            model = loaded(self)
            vectors = model.encode(list(texts), batch_size=batch_size, show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(vectors, dtype=np.float32).reshape(len(texts), -1)


def find(name: str, revision: str | None = None, *, fetch: bool = False) -> Path:
    """The directory of a model.

    Args:
        name: A directory, ``package:name/folder`` for one inside an installed package, or an id of the hub.
        revision: Branch, tag or commit of the hub.
        fetch: Download from the hub what is missing; otherwise nothing uses the network.

    Raises:
        DataError: If it isn't there.

    Example:
        >>> find("package:json/nothing")
        Traceback (most recent call last):
        mtl_lightning.errors.DataError: model 'package:json/nothing': the package json has no folder nothing
    """
    if name.startswith(PACKAGE):
        return _in_package(name)
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise DataError(f"model {name!r}: there is no such directory")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["*.json", "*.txt", "*.model", "*.safetensors", "1_*", "2_*", "3_*"]
    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=not fetch, allow_patterns=patterns))
    except LocalEntryNotFoundError as error:
        hint = "is the hub reachable?" if fetch else "set fetch: true to download it from the hub"
        raise DataError(f"model {name!r} is not on this machine", hint) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise DataError(f"model {name!r}: {' '.join(str(error).split())}") from error


def _in_package(name: str) -> Path:
    package, _, folder = name.removeprefix(PACKAGE).partition("/")
    found = importlib.util.find_spec(package) if package.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        raise DataError(f"model {name!r}: no package {package!r} is installed", f"pip install {package}")
    path = Path(next(iter(found.submodule_search_locations)), folder)
    if ".." in Path(folder).parts or not path.is_dir():
        raise DataError(f"model {name!r}: the package {package} has no folder {folder}")
    return path


@functools.cache
def content(path: Path) -> str:
    """A hash of a model's files, their names included.

    Raises:
        DataError: If there are none.
    """
    digest = hashlib.sha256()
    files = sorted(file for file in path.rglob("*") if file.suffix in CONTENT and file.is_file())
    if not any(file.name == "config.json" for file in files):
        raise DataError(f"{path} holds no model", "it must have a config.json")
    for file in files:
        digest.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:32]


@functools.cache
def loaded(local: LocalModel) -> Any:
    """The model in memory, once per process. It takes no code from its files, and no pickled weights.

    Raises:
        DataError: If it can't be loaded.
    """
    modules = local.path / "modules.json"
    kinds = [each.get("type", "") for each in json.loads(modules.read_text())] if modules.is_file() else []
    if foreign := [kind for kind in kinds if not kind.startswith("sentence_transformers.")]:
        raise DataError(f"{local.path}: the module {foreign[0]} is code that a model may not bring")
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model = SentenceTransformer(
            str(local.path),
            device=local.device,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True, "dtype": getattr(torch, local.precision)},
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise DataError(f"{local.path} can't be loaded: {' '.join(str(error).split())}") from error
    if local.length is not None:
        model.max_seq_length = local.length
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model.eval()
