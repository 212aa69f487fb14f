"""A body → its answer."""

from typing import Any

import orjson

from mtl_lightning.errors import DataError
from mtl_lightning.export.bundle import Bundle
from mtl_lightning.serve.request import Refused, read

SHOWN = 12
"""Characters of an export's identity that answers show."""


def answer(bundle: Bundle, body: bytes, most: int) -> tuple[bytes, int]:
    """The answer to a body, and its number of rows.

    Args:
        bundle: The export.
        body: See :func:`mtl_lightning.serve.request.read`.
        most: Candidates at most.

    Raises:
        Refused: If the body can't be read or its values can't be encoded.
    """
    question = read(body, tuple(bundle.manifest.columns), most)
    try:
        predictions, score = bundle.score(question.columns, question.rows)
    except DataError as error:
        raise Refused(422, str(error)) from error
    found: dict[str, Any] = {"model": bundle.identity[:SHOWN], "predictions": predictions}
    if score is not None:
        found["score"] = score
    return orjson.dumps(found, option=orjson.OPT_SERIALIZE_NUMPY), question.rows


def described(bundle: Bundle) -> dict[str, Any]:
    """An export's identity and its recipe.

    Args:
        bundle: The export.
    """
    return {"model": bundle.identity, "recipe": bundle.manifest.recipe}
