"""Checks of the files that hold tensors, before anything is allocated for them."""

import math
from pathlib import Path
from typing import Any

from torch import Tensor

from mtl_lightning.errors import MtlError
from mtl_lightning.export.extras import need
from mtl_lightning.export.manifest import MODEL, TENSORS, WEIGHTS


def check_onnx(folder: Path) -> None:
    """Check that every tensor of an ONNX file is where the export keeps them, and as large as its shape says.

    Args:
        folder: The export.

    Raises:
        MtlError: If a tensor lies in another file, or reaches beyond its file.
    """
    onnx = need("onnx", "export")
    path = folder / MODEL
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf exports no parent of its errors
        raise MtlError(f"{path} is no ONNX file: {error}") from error
    beside = folder / TENSORS
    available = beside.stat().st_size if beside.is_file() else 0
    for tensor in _tensors(model.graph):
        size = _bytes(onnx, tensor, path)
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            if tensor.raw_data and len(tensor.raw_data) != size:
                raise MtlError(f"{path}: tensor {tensor.name!r} has {len(tensor.raw_data)} bytes, its shape {size}")
            continue
        place = {entry.key: entry.value for entry in tensor.external_data}
        if place.get("location") != TENSORS:
            raise MtlError(f"{path}: tensor {tensor.name!r} lies in {place.get('location')!r}, not in {TENSORS}")
        try:
            start, length = int(place.get("offset", 0)), int(place.get("length", size))
        except ValueError as error:
            raise MtlError(f"{path}: tensor {tensor.name!r} has no place: {error}") from error
        if start < 0 or length != size or start + length > available:
            raise MtlError(
                f"{path}: tensor {tensor.name!r} of {size:,} bytes at {start:,} doesn't fit {TENSORS} "
                f"of {available:,} bytes"
            )


def _tensors(graph: Any) -> list[Any]:
    """All tensors of a graph and of the graphs in its nodes."""
    found = list(graph.initializer)
    for sparse in graph.sparse_initializer:
        found += [sparse.values, sparse.indices]
    for node in graph.node:
        for attribute in node.attribute:
            found += [*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors]
            for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                found += _tensors(inner)
    return found


def _bytes(onnx: Any, tensor: Any, path: Path) -> int:
    try:
        width = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, TypeError, ValueError) as error:
        raise MtlError(f"{path}: tensor {tensor.name!r} has no known type") from error
    if any(size < 0 for size in tensor.dims):
        raise MtlError(f"{path}: tensor {tensor.name!r} has a negative size")
    return int(math.prod(tensor.dims) * width)


def load_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of an export by name; the library compares shapes with the file's size before it reads.

    Raises:
        MtlError: If the file is damaged, or a tensor reaches beyond it.
    """
    safetensors, torch_format = need("safetensors", "export"), need("safetensors.torch", "export")
    path = folder / WEIGHTS
    try:
        weights: dict[str, Tensor] = torch_format.load_file(path)
    except (safetensors.SafetensorError, OSError, KeyError) as error:
        raise MtlError(f"{path} is damaged or holds no weights: {error}") from error
    return weights
