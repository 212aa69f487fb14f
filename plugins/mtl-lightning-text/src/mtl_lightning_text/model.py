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
FILELESS = ".Normalize"
"""A module of sentence-transformers that has no folder."""
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
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        try:
            there = _snapshot(name, revision, local_files_only=True)
        except LocalEntryNotFoundError:
            if not fetch:
                raise
            there = None
        if there is not None and (not fetch or is_whole(there)):
            return there  # also where the hub has a newer one: a model stays what it was in training
        return _snapshot(name, revision, local_files_only=False)
    except LocalEntryNotFoundError as error:
        hint = "is the hub reachable?" if fetch else "set fetch: true to download it from the hub"
        raise DataError(f"model {name!r} is not on this machine", hint) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise DataError(f"model {name!r}: {' '.join(str(error).split())}") from error


def _snapshot(name: str, revision: str | None, *, local_files_only: bool) -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.txt", "*.model", "*.safetensors", "1_*", "2_*", "3_*"]
    return Path(snapshot_download(name, revision=revision, local_files_only=local_files_only, allow_patterns=patterns))


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
        DataError: If it can't be loaded, can't run on the device or can't see as many tokens.
    """
    kinds = [each["type"] for each in modules(local.path)]
    if foreign := [kind for kind in kinds if not kind.startswith("sentence_transformers.")]:
        raise DataError(f"{local.path}: the module {foreign[0]} is code that a model may not bring")
    for file in local.path.rglob("pytorch_model*.bin"):
        if not any(file.parent.glob("*.safetensors")):
            raise DataError(f"{file} is a pickle, which may bring code", "save the model's weights as safetensors")
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
    except Exception as error:  # whatever a damaged file leads to, in any of the libraries below
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        hint = "" if local.device is None else "the option device is cpu, cuda, cuda:1 or mps, or left out"
        raise DataError(f"{local.path} can't be loaded: {said}", hint) from error
    model.eval().requires_grad_(False)
    own = model.max_seq_length
    if local.length is not None:
        model.max_seq_length = local.length
        if own is None or local.length > own:
            _check_length(model, local, own)
    return model


def is_whole(path: Path) -> bool:
    """Whether a model's download came to its end: configuration, every module, every part of the weights."""
    parts = [
        path / "config.json",
        *(path / each["path"] for each in modules(path) if not each["type"].endswith(FILELESS)),
    ]
    for index in path.glob("*.safetensors.index.json"):
        try:
            parts += [path / name for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()]
        except (ValueError, KeyError, TypeError, AttributeError):
            return False
    return all(part.exists() for part in parts) and any(path.glob("*.safetensors"))


def modules(path: Path) -> list[dict[str, str]]:
    """The modules that a sentence-transformers model names; none for another model."""
    file = path / "modules.json"
    if not file.is_file():
        return []
    try:
        return [
            {"type": str(each.get("type", "")), "path": str(each.get("path", ""))}
            for each in json.loads(file.read_text(encoding="utf-8"))
        ]
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{file} is no list of modules: {error}", "is the file whole?") from error


def _check_length(model: Any, local: LocalModel, own: int | None) -> None:
    # Whether positions end, and where, is each architecture's own matter: a text of that length tells.
    try:
        model.encode(["a " * (local.length or 0)], show_progress_bar=False)
    except (IndexError, RuntimeError) as error:
        raise DataError(f"{local.path} can't see {local.length} tokens", f"its own length is {own}") from error
