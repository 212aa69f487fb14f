"""Answers to requests: the body of a request → predictions as JSON."""

from collections.abc import Callable
from typing import Any

import orjson

from mtl_lightning.errors import DataError
from mtl_lightning.export.bundle import Bundle
from mtl_lightning.serve.request import RequestError, read

Call = Callable[[], tuple[Any, int]]
"""Function that answers a request: JSON or an answer, and the number of rows."""

SHOWN = 12
"""Number of characters of an export's identity in answers."""


def answer(bundle: Bundle, body: bytes, most: int) -> tuple[bytes, int]:
    """Answer a request.

    Args:
        bundle: The export.
        body: Body of the request; see :func:`mtl_lightning.serve.request.read`.
        most: Largest number of candidates.

    Returns:
        JSON with ``model``, ``predictions`` and ``score``, and the number of candidates.

    Raises:
        RequestError: If the body cannot be read, or its values cannot be encoded.
    """
    # Requests may bring events of their own.
    request = read(body, tuple(bundle.manifest.columns), most, bundle.transforms.optional_columns)
    try:
        predictions, score = bundle.score(request.columns, request.rows)
    except DataError as error:
        raise RequestError(422, str(error)) from error
    content: dict[str, Any] = {"model": bundle.identity[:SHOWN], "predictions": predictions}
    if score is not None:
        content["score"] = score
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), request.rows


def describe(bundle: Bundle) -> dict[str, Any]:
    """Return the identity of an export, ``model``, and the name of its recipe, ``recipe``."""
    return {"model": bundle.identity, "recipe": bundle.manifest.recipe}
