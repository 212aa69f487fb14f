"""Frozen language models: search for their files, checks of the files, and vectors of texts."""

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
"""Prefix of ``package:name/folder``, a folder inside an installed package."""
CONTENT = (".json", ".txt", ".model", ".safetensors", ".bin")
"""Suffixes of a model's files; pages of the hub and exports to other formats are ignored."""
FILELESS = ".Normalize"
"""Module of sentence-transformers without a folder."""
BUSY = threading.Lock()
"""Lock of all models: features are encoded in several threads, but tokenizers are not thread-safe."""


@dataclass(frozen=True)
class LocalModel:
    """Files and options of a model.

    Args:
        path: Directory of the files.
        length: Largest number of tokens of a text; None for the model's own limit.
        device: Device of the model; None for the fastest available.
        precision: Type of the model's weights.
    """

    path: Path
    length: int | None = None
    device: str | None = None
    precision: str = "float32"

    def digest(self) -> str:
        """Hash of the files and of the options that change vectors."""
        return f"{digest_files(self.path)}-{self.length or 'full'}-{self.precision}"

    def embed(self, texts: Sequence[str], batch_size: int) -> np.ndarray:
        """Embed texts, [n, d] float32, with the model's own pooling and normalisation (by default the mean).

        Args:
            texts: The texts.
            batch_size: Number of texts per batch.

        Raises:
            DataError: If the model can't be loaded.
        """
        with BUSY:
            model = load(self)
            vectors = model.encode(list(texts), batch_size=batch_size, show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(vectors, dtype=np.float32).reshape(len(texts), -1)


def find_model(name: str, revision: str | None = None, *, fetch: bool = False) -> Path:
    """Find the directory of a model.

    Args:
        name: A directory, ``package:name/folder`` for one inside an installed package, or an id of the hub.
        revision: Branch, tag or commit of the hub.
        fetch: Download missing files from the hub; otherwise nothing uses the network.

    Raises:
        DataError: If the model is missing.

    Example:
        >>> find_model("package:json/nothing")
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
            local = _snapshot(name, revision, local_files_only=True)
        except LocalEntryNotFoundError:
            if not fetch:
                raise
            local = None
        if local is not None and (not fetch or is_complete(local)):
            return local  # even if the hub has a newer one: the model must not change after training
        return _snapshot(name, revision, local_files_only=False)
    except LocalEntryNotFoundError as error:
        hint = "check that the hub is reachable" if fetch else "set fetch: true to download it from the hub"
        raise DataError(f"model {name!r} is not on this machine", hint) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise DataError(f"model {name!r}: {' '.join(str(error).split())}") from error


def _snapshot(name: str, revision: str | None, *, local_files_only: bool) -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.txt", "*.model", "*.safetensors", "1_*", "2_*", "3_*"]
    return Path(snapshot_download(name, revision=revision, local_files_only=local_files_only, allow_patterns=patterns))


def _in_package(name: str) -> Path:
    package, _, folder = name.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"model {name!r}: no package {package!r} is installed", f"pip install {package}")
    path = Path(next(iter(spec.submodule_search_locations)), folder)
    if ".." in Path(folder).parts or not path.is_dir():
        raise DataError(f"model {name!r}: the package {package} has no folder {folder}")
    return path


@functools.cache
def digest_files(path: Path) -> str:
    """Hash of the names and contents of a model's files.

    Args:
        path: Directory of the model.

    Raises:
        DataError: If the directory does not hold a model.
    """
    digest = hashlib.sha256()
    files = sorted(file for file in path.rglob("*") if file.suffix in CONTENT and file.is_file())
    if not any(file.name == "config.json" for file in files):
        raise DataError(f"{path} does not hold a model", "it must have a config.json")
    for file in files:
        digest.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:32]


@functools.cache
def load(local: LocalModel) -> Any:
    """Load a model, once per process; code in its files and pickled weights are refused.

    Args:
        local: Files and options of the model.

    Raises:
        DataError: If the model can't be loaded, can't run on the device, or is limited to fewer tokens.
    """
    kinds = [module["type"] for module in read_modules(local.path)]
    if foreign := [kind for kind in kinds if not kind.startswith("sentence_transformers.")]:
        raise DataError(f"{local.path}: the module {foreign[0]} is code, which a model must not contain")
    for file in local.path.rglob("pytorch_model*.bin"):
        if not any(file.parent.glob("*.safetensors")):
            raise DataError(f"{file} is a pickle, which may run code", "save the model's weights as safetensors")
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
    except Exception as error:  # a damaged file can raise any exception of several libraries
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        hint = "" if local.device is None else "the option device is cpu, cuda, cuda:1 or mps, or left out"
        raise DataError(f"{local.path} can't be loaded: {reason}", hint) from error
    model.eval().requires_grad_(False)
    own = model.max_seq_length
    if local.length is not None:
        model.max_seq_length = local.length
        if own is None or local.length > own:
            _check_length(model, local, own)
    return model


def is_complete(path: Path) -> bool:
    """True if a model has its configuration, all modules and all parts of the weights."""
    parts = [
        path / "config.json",
        *(path / module["path"] for module in read_modules(path) if not module["type"].endswith(FILELESS)),
    ]
    for index in path.glob("*.safetensors.index.json"):
        try:
            parts += [path / name for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()]
        except (ValueError, KeyError, TypeError, AttributeError):
            return False
    return all(part.exists() for part in parts) and any(path.glob("*.safetensors"))


def read_modules(path: Path) -> list[dict[str, str]]:
    """Read the list of modules of a sentence-transformers model; empty for another model.

    Args:
        path: Directory of the model.

    Raises:
        DataError: If the file with the modules is damaged.
    """
    file = path / "modules.json"
    if not file.is_file():
        return []
    try:
        return [
            {"type": str(module.get("type", "")), "path": str(module.get("path", ""))}
            for module in json.loads(file.read_text(encoding="utf-8"))
        ]
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{file} is not a list of modules: {error}", "check that the file is complete") from error


def _check_length(model: Any, local: LocalModel, own: int | None) -> None:
    # Limits of positions depend on the architecture, so try a text of that length.
    try:
        model.encode(["a " * (local.length or 0)], show_progress_bar=False)
    except (IndexError, RuntimeError) as error:
        raise DataError(f"{local.path} can't read {local.length} tokens", f"its own length is {own}") from error
