"""Requests and metadata of the Open Inference Protocol, whose inputs are the raw columns of an export."""

from collections.abc import Sequence
from typing import Any

import orjson
from starlette.responses import Response

from mtl_lightning.errors import DataError, did_you_mean
from mtl_lightning.export.bundle import Bundle
from mtl_lightning.serve.answer import SHOWN
from mtl_lightning.serve.request import RequestError, ScoringRequest, parse
from mtl_lightning.serve.tensors import TEXT, Tensor, read_tensor, write_tensors

LENGTH = "Inference-Header-Content-Length"
"""Header with the number of bytes of JSON before the bytes of tensors."""

KEYS = ("inputs", "outputs", "parameters", "id")
"""Keys of a body; the first one is required."""

LISTS = ("sequence", "vector", "overlap", "semantic_id")
"""Kinds of features that read lists."""

NUMBERS = ("numeric", "buckets")
"""Kinds of features that read numbers."""

SCORE = "score"
"""Name of the output with the combined score."""


def describe_model(bundle: Bundle, name: str) -> dict[str, Any]:
    """Return the metadata of an export as a model of the protocol.

    Args:
        bundle: The export.
        name: Name of the model.
    """
    features = bundle.transforms.features
    inputs = []
    for column, used in bundle.manifest.columns.items():
        kinds = {features[feature].kind for feature in used}
        inputs.append({"name": column, "datatype": "FP64" if kinds <= {*NUMBERS} else TEXT, "shape": [-1]})
    inputs += [
        {"name": feature.optional_columns(name)[0], "datatype": "FP64", "shape": [-1, len(feature.preferred())]}
        for name, feature in features.items()
        if feature.preferred()
    ]
    outputs: list[dict[str, Any]] = [
        {"name": output["name"], "datatype": "FP32", "shape": [-1] if output["width"] == 1 else [-1, output["width"]]}
        for output in bundle.manifest.outputs.values()
    ]
    if bundle.formula:
        outputs.append({"name": SCORE, "datatype": "FP64", "shape": [-1]})
    return {
        "name": name,
        "versions": [bundle.identity[:SHOWN]],
        "platform": "mtl_lightning",
        "inputs": inputs,
        "outputs": outputs,
    }


def infer(bundle: Bundle, body: bytes, most: int, name: str, length: str | None) -> tuple[Response, int]:
    """Answer a request for inference.

    Args:
        bundle: The export.
        body: JSON with ``inputs``, possibly followed by the bytes of tensors.
        most: Largest number of rows.
        name: Name of the model.
        length: Value of the header :data:`LENGTH`; None if the body is only JSON.

    Returns:
        The answer, and the number of rows.

    Raises:
        RequestError: If the body cannot be read, or its values cannot be encoded.
    """
    head = len(body)
    if length is not None:
        head = int(length) if length.isascii() and length.isdecimal() and len(length) < 12 else -1
        if not 0 <= head <= len(body):
            raise RequestError(400, f"{LENGTH} must be a number of at most {len(body)} bytes, the size of the body")
    message = parse(body[:head], KEYS)
    tensors = _tensors(message.get("inputs"), memoryview(body)[head:])
    request = _columns(bundle, tensors, most)
    chosen = _outputs(bundle, message)
    identity = message.get("id")
    if not isinstance(identity, str | None):
        raise RequestError(422, "id must be text")
    try:
        predictions, score = bundle.score(request.columns, request.rows)
    except DataError as error:
        raise RequestError(422, str(error)) from error
    values = {bundle.manifest.outputs[task]["name"]: part for task, part in predictions.items()}
    if score is not None:
        values[SCORE] = score
    described, tail = write_tensors([(output, values[output], binary) for output, binary in chosen])
    content = {"model_name": name, "model_version": bundle.identity[:SHOWN], "outputs": described}
    if identity is not None:
        content["id"] = identity
    text = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    if not tail:
        return Response(text, media_type="application/json"), request.rows
    headers = {LENGTH: str(len(text))}
    return Response(text + tail, headers=headers, media_type="application/octet-stream"), request.rows


def _tensors(inputs: Any, tail: memoryview) -> list[Tensor]:
    if not isinstance(inputs, list) or not inputs:
        raise RequestError(422, "inputs must be a list of tensors")
    tensors = []
    names: set[str] = set()
    for number, item in enumerate(inputs):
        tensor, tail = read_tensor(item, f"inputs[{number}]", tail)
        if tensor.name in names:
            raise RequestError(422, f"input {tensor.name!r} is there twice")
        names.add(tensor.name)
        tensors.append(tensor)
    if tail:
        raise RequestError(422, f"{len(tail)} bytes after the JSON belong to no input")
    return tensors


def _columns(bundle: Bundle, tensors: Sequence[Tensor], most: int) -> ScoringRequest:
    """Return tensors as columns: one of a single row is used for all rows; unknown ones are ignored."""
    optional = bundle.transforms.optional_columns
    used = [tensor for tensor in tensors if tensor.name in bundle.manifest.columns or tensor.name in optional]
    for name in bundle.manifest.columns:
        if all(tensor.name != name for tensor in used):
            raise RequestError(422, f"no input {name!r}")
    rows = max((tensor.shape[0] for tensor in used), default=0)
    if not rows:
        raise RequestError(422, "the inputs have no rows")
    if rows > most:
        raise RequestError(413, f"{rows} rows: at most {most} are scored at once")
    columns: dict[str, Sequence[Any]] = {}
    for tensor in used:
        if tensor.shape[0] not in (1, rows):
            raise RequestError(422, f"input {tensor.name!r} has {tensor.shape[0]} rows, others have {rows}")
        columns[tensor.name] = _values(bundle, tensor)
    return ScoringRequest(columns, rows)


def _values(bundle: Bundle, tensor: Tensor) -> list[Any]:
    if tensor.name in bundle.transforms.histories:  # events are objects, which no tensor has
        return [_events(value, tensor.name) for value in tensor.values]
    if len(tensor.shape) == 1:
        return tensor.values
    rows, width = tensor.shape
    features = bundle.transforms.features
    used = bundle.manifest.columns.get(tensor.name, ())
    if tensor.name in bundle.transforms.optional_columns or any(features[name].kind in LISTS for name in used):
        return [tensor.values[row * width : (row + 1) * width] for row in range(rows)]
    if width != 1:
        raise RequestError(422, f"input {tensor.name!r} has one value per row: its shape must be [{rows}]")
    return tensor.values


def _events(value: Any, name: str) -> Any:
    if value is None:
        return None
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise RequestError(422, f"input {name!r} must be BYTES with a JSON list of events in each: {error}") from error


def _outputs(bundle: Bundle, message: dict[str, Any]) -> list[tuple[str, bool]]:
    """Return the names of the outputs to send, and whether each is sent as bytes."""
    available = [output["name"] for output in bundle.manifest.outputs.values()] + [SCORE] * bool(bundle.formula)
    everywhere = _flag(message.get("parameters", {}), "binary_data_output", "parameters")
    if "outputs" not in message:
        return [(name, everywhere) for name in available]
    items = message["outputs"]
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise RequestError(422, "outputs must be a list of objects with name")
    chosen = {}
    for item in items:
        name = item.get("name")
        if name not in available:
            raise RequestError(422, f"no output {str(name)[:80]!r} ({did_you_mean(str(name), available)})")
        if unknown := set(item) - {"name", "parameters"}:
            raise RequestError(422, f"output {name!r}: unknown key {sorted(unknown)[0]!r}")
        chosen[name] = _flag(item.get("parameters", {}), "binary_data", f"output {name!r}", everywhere)
    return list(chosen.items())


def _flag(parameters: Any, name: str, place: str, default: bool = False) -> bool:
    if not isinstance(parameters, dict) or set(parameters) - {name}:
        raise RequestError(422, f"{place}: the only parameter is {name}")
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise RequestError(422, f"{place}: {name} must be true or false")
    return value
