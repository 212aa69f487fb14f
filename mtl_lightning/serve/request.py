"""Bodies of requests: JSON → columns of raw values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

KEYS = {"context", "candidates"}
"""Keys of a body."""


class RequestError(Exception):
    """A request that cannot be answered because of an error of the client.

    Args:
        status: HTTP status, 4xx.
        reason: The error and its place.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ScoringRequest:
    """Candidates to score.

    Args:
        columns: Values by raw column; a single value of a column is used for all candidates.
        rows: Number of candidates.
    """

    columns: dict[str, Sequence[Any]]
    rows: int


def read(body: bytes, needed: Sequence[str], most: int) -> ScoringRequest:
    """Read the body of a request.

    Args:
        body: JSON ``{"context": {column: value}, "candidates": [{column: value}, …]}``. Candidates may also be
            ``{column: [value, …]}``. Without a context, candidates have all columns.
        needed: Columns that candidates or the context must have.
        most: Largest number of candidates.

    Raises:
        RequestError: If the body has another form, or lacks a column.

    Example:
        >>> read(b'{"context": {"user": 7}, "candidates": [{"item": 1}, {"item": 2}]}', ["user", "item"], 10)
        ScoringRequest(columns={'user': [7], 'item': [1, 2]}, rows=2)
    """
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(400, f"the body is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise RequestError(422, "the body must be an object with candidates")
    if unknown := set(message) - KEYS:
        raise RequestError(422, f"unknown key {sorted(unknown)[0]!r}: the keys are context and candidates")
    context = message.get("context", {})
    candidates = message.get("candidates")
    if not isinstance(context, dict):
        raise RequestError(422, "context must be an object: the columns that all candidates share")
    if isinstance(candidates, list):
        rows = len(candidates)
    elif isinstance(candidates, dict):
        rows = _rows(candidates)
    else:
        raise RequestError(422, "candidates must be a list of objects, or an object of lists")
    if not rows:
        raise RequestError(422, "there are no candidates")
    if rows > most:
        raise RequestError(413, f"{rows} candidates: at most {most} are scored at once")
    own = _of_objects(candidates, context, needed) if isinstance(candidates, list) else candidates
    columns: dict[str, Sequence[Any]] = {}
    for name in needed:
        if name in context:
            if name in own:
                raise RequestError(422, f"column {name!r} is in the context and in the candidates")
            columns[name] = [context[name]]
        elif name in own:
            columns[name] = own[name]
        else:
            raise RequestError(422, f"no column {name!r} in the context or in the candidates")
    return ScoringRequest(columns, rows)


def _rows(candidates: Mapping[str, Any]) -> int:
    if not all(isinstance(values, list) for values in candidates.values()):
        raise RequestError(422, "candidates must be a list of objects, or an object of lists")
    lengths = {len(values) for values in candidates.values()}
    if len(lengths) > 1:
        raise RequestError(422, f"the columns of candidates have different lengths: {sorted(lengths)}")
    return lengths.pop() if lengths else 0


def _of_objects(candidates: list[Any], context: Mapping[str, Any], needed: Sequence[str]) -> dict[str, list[Any]]:
    """Return the columns of a list of objects, all of which must have the same needed columns."""
    if set(map(type, candidates)) != {dict}:
        place = next(i for i, candidate in enumerate(candidates) if not isinstance(candidate, dict))
        raise RequestError(422, f"candidates[{place}] is not an object")
    names = [name for name in needed if name in candidates[0] or name not in context]
    columns: dict[str, list[Any]] = {}
    for name in names:
        try:
            columns[name] = [candidate[name] for candidate in candidates]
        except KeyError:
            place = next(i for i, candidate in enumerate(candidates) if name not in candidate)
            raise RequestError(
                422, f"candidates[{place}] has no column {name!r}: write null where it is missing"
            ) from None
    return columns
