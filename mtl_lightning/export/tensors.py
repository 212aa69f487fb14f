"""Checks of files with tensors, before memory is allocated for them."""

import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from mtl_lightning.errors import MtlError
from mtl_lightning.export.extras import need
from mtl_lightning.export.manifest import MODEL, TENSORS, WEIGHTS
from mtl_lightning.files import open_regular, read_regular

LARGEST = (1 << 31) - 1
"""Largest number of bytes of an ONNX file, by its format."""

NEVER = {
    "FunctionProto": "a function",
    "SparseTensorProto": "a sparse tensor",
    "TrainingInfoProto": "a graph for training",
}
"""Parts of ONNX that exports do not have."""

DOMAINS = ("", "ai.onnx")
"""Domains of standard operators; operators of runtimes may read files."""

PLACE = ("location", "offset", "length")
"""Keys of the place of an external tensor."""


def check_onnx(folder: Path, listed: Collection[str]) -> None:
    """Check that an ONNX file has only standard operators, and tensors only in the files of an export.

    All messages of the file are checked. Functions, sparse tensors and parts that the installed version of ONNX does
    not know are refused, since exports do not have them.

    Args:
        folder: Folder of the export.
        listed: Names of the files whose size and hash were checked.

    Raises:
        MtlError: If a tensor is in another file or exceeds its file, or the file has a part that exports do not have.
    """
    onnx = need("onnx", "export")
    path = folder / MODEL
    model = onnx.ModelProto()
    try:
        model.ParseFromString(read_regular(path, LARGEST))
    except OSError as error:
        raise MtlError(f"{path} can't be read: {error.strerror}") from error
    except MtlError:
        raise
    except Exception as error:  # protobuf does not export the base of its errors
        raise MtlError(f"{path} is not an ONNX file: {error}") from error
    size = model.ByteSize()
    model.DiscardUnknownFields()
    if model.ByteSize() != size:
        raise MtlError(f"{path} has parts that onnx {onnx.__version__} does not know")
    available = (folder / TENSORS).stat().st_size if TENSORS in listed else 0
    for kind, message in _messages(model):
        if kind in NEVER:
            raise MtlError(f"{path} has {NEVER[kind]}, which no export has")
        if kind == "NodeProto" and message.domain not in DOMAINS:
            raise MtlError(
                f"{path} has the operator {message.domain}.{message.op_type}, which is not a standard operator"
            )
        if kind == "TensorProto":
            _check_tensor(onnx, message, path, available, listed)


def _messages(message: Any) -> Iterator[tuple[str, Any]]:
    """Yield a protobuf message and all messages in it, with the names of their types."""
    pending = [message]
    while pending:
        current = pending.pop()
        yield current.DESCRIPTOR.name, current
        for field, value in current.ListFields():
            if field.message_type is not None:
                # The value is one message or several; versions of protobuf differ in how a field declares that.
                pending += [value] if hasattr(value, "DESCRIPTOR") else value


def _check_tensor(onnx: Any, tensor: Any, path: Path, available: int, listed: Collection[str]) -> None:
    name, size = tensor.name, _bytes(onnx, tensor, path)
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        if tensor.external_data:
            raise MtlError(f"{path}: tensor {name!r} is in the file and refers to another")
        if tensor.raw_data and len(tensor.raw_data) != size:
            raise MtlError(f"{path}: tensor {name!r} has {len(tensor.raw_data)} bytes, its shape {size}")
        if math.prod(tensor.dims) > 2 * tensor.ByteSize():  # types of four bits have two values in a byte
            raise MtlError(f"{path}: tensor {name!r} is larger than its stored values")
        return
    place = {entry.key: entry.value for entry in tensor.external_data}
    if place.get("location") != TENSORS:
        raise MtlError(f"{path}: tensor {name!r} is in {place.get('location')!r}, not in {TENSORS}")
    if TENSORS not in listed:
        raise MtlError(f"{path}: tensor {name!r} is in {TENSORS}, which the manifest does not list")
    if len(place) != len(tensor.external_data) or not set(place) <= set(PLACE):
        raise MtlError(f"{path}: tensor {name!r} has two places, or an unknown one: {', '.join(sorted(place))}")
    start, length = _number(place.get("offset", "0")), _number(place.get("length", str(size)))
    if start is None or length is None:
        raise MtlError(f"{path}: tensor {name!r} has no place: offset and length must be numbers")
    if length != size or start + length > available:
        raise MtlError(
            f"{path}: tensor {name!r} of {size:,} bytes at {start:,} doesn't fit {TENSORS} of {available:,} bytes"
        )


def _number(text: str) -> int | None:
    """Parse ASCII digits; None for signs, blanks and other digits, which readers interpret differently."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None


def _bytes(onnx: Any, tensor: Any, path: Path) -> int:
    try:
        width = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, TypeError, ValueError) as error:
        raise MtlError(f"{path}: tensor {tensor.name!r} has an unknown type") from error
    if any(size < 0 for size in tensor.dims):
        raise MtlError(f"{path}: tensor {tensor.name!r} has a negative size")
    return int(math.prod(tensor.dims) * width)


def load_weights(folder: Path) -> dict[str, Tensor]:
    """Load the weights of an export by name; safetensors compares their shapes with the size of the file first.

    Raises:
        MtlError: If the file is damaged or has no weights.
    """
    safetensors, torch_format = need("safetensors", "export"), need("safetensors.torch", "export")
    path = folder / WEIGHTS
    try:
        open_regular(path).close()
        weights: dict[str, Tensor] = torch_format.load_file(path)
    except (safetensors.SafetensorError, OSError, KeyError) as error:
        raise MtlError(f"{path} is damaged or holds no weights: {error}") from error
    return weights
