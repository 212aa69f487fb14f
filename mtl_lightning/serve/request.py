"""Bodies of requests: JSON → columns of raw values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

KEYS = ("candidates", "context")
"""Keys of a body; the first one is required."""


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


def parse(body: bytes, keys: Sequence[str]) -> dict[str, Any]:
    """Parse a JSON object.

    Args:
        body: Text of the object.
        keys: Keys that it may have, the required one first.

    Raises:
        RequestError: If the body is not one.
    """
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(400, f"the body is not JSON: {error}") from error
    main, *others = keys
    if not isinstance(message, dict):
        raise RequestError(422, f"the body must be an object with {main}")
    if unknown := set(message) - {*keys}:
        raise RequestError(422, f"unknown key {sorted(unknown)[0]!r}: the keys are {' and '.join([*others, main])}")
    return message


def read(body: bytes, needed: Sequence[str], most: int, optional: Sequence[str] = ()) -> ScoringRequest:
    """Read the body of a request.

    Args:
        body: JSON ``{"context": {column: value}, "candidates": [{column: value}, …]}``. Candidates may also be
            ``{column: [value, …]}``. Without a context, candidates have all columns.
        needed: Columns that candidates or the context must have.
        most: Largest number of candidates.
        optional: Further columns that are read if they are there.

    Raises:
        RequestError: If the body has another form, or lacks a column.

    Example:
        >>> read(b'{"context": {"user": 7}, "candidates": [{"item": 1}, {"item": 2}]}', ["user", "item"], 10)
        ScoringRequest(columns={'user': [7], 'item': [1, 2]}, rows=2)
    """
    message = parse(body, KEYS)
    context = message.get("context", {})
    candidates: Any = message.get("candidates")
    if not isinstance(context, dict):
        raise RequestError(422, "context must be an object: the columns that all candidates share")
    rows = count_rows(candidates, "candidates")
    if rows > most:
        raise RequestError(413, f"{rows} candidates: at most {most} are scored at once")
    brought = candidates if isinstance(candidates, list) else [candidates]
    given = [name for name in optional if any(isinstance(part, dict) and name in part for part in (context, *brought))]
    needed = [*needed, *given]
    own = columns_of_objects(candidates, context, needed) if isinstance(candidates, list) else candidates
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


def count_rows(rows: Any, place: str) -> int:
    """Count rows: a list of objects, or an object of lists of equal lengths.

    Args:
        rows: The rows.
        place: Name of the rows, for messages.

    Raises:
        RequestError: If there is no row, or the value is another one.
    """
    form = RequestError(422, f"{place} must be a list of objects, or an object of lists")
    if isinstance(rows, list):
        count = len(rows)
    elif isinstance(rows, dict):
        if not all(isinstance(values, list) for values in rows.values()):
            raise form
        lengths = {len(values) for values in rows.values()}
        if len(lengths) > 1:
            raise RequestError(422, f"the columns of {place} have different lengths: {sorted(lengths)}")
        count = lengths.pop() if lengths else 0
    else:
        raise form
    if not count:
        raise RequestError(422, f"there are no {place}")
    return count


def columns_of_objects(
    rows: list[Any], context: Mapping[str, Any], needed: Sequence[str], place: str = "candidates"
) -> dict[str, list[Any]]:
    """Return the columns of a list of objects, all of which must have the same needed columns.

    Args:
        rows: The objects.
        context: Columns that may be missing in all of them.
        needed: Columns to return.
        place: Name of the rows, for messages.

    Raises:
        RequestError: If a row is not an object, or lacks a column.
    """
    if set(map(type, rows)) != {dict}:
        number = next(i for i, row in enumerate(rows) if not isinstance(row, dict))
        raise RequestError(422, f"{place}[{number}] is not an object")
    # Rows of unequal numbers of columns: a later one may bring a column that the first leaves to the context.
    unequal = any(len(row) != len(rows[0]) for row in rows)
    names = [
        name
        for name in needed
        if name in rows[0] or name not in context or (unequal and any(name in row for row in rows))
    ]
    columns: dict[str, list[Any]] = {}
    for name in names:
        try:
            columns[name] = [row[name] for row in rows]
        except KeyError:
            number = next(i for i, row in enumerate(rows) if name not in row)
            raise RequestError(
                422, f"{place}[{number}] has no column {name!r}: write null where it is missing"
            ) from None
    return columns
