"""The body of a request → columns of raw values, or a reason why not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

KEYS = {"context", "candidates"}


class Refused(Exception):  # noqa: N818 - reads as what happened
    """A request that can't be served, as the client's fault.

    Args:
        status: HTTP status, 4xx.
        reason: What is wrong and where.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Question:
    """What a request asks for.

    Args:
        columns: Values by raw column; one value stands for the same value in every row.
        rows: Number of candidates.
    """

    columns: dict[str, Sequence[Any]]
    rows: int


def read(body: bytes, wanted: Sequence[str], most: int) -> Question:
    """Read a request.

    Args:
        body: JSON: ``{"context": {column: value}, "candidates": [{column: value}, …]}``, or candidates as
            ``{column: [value, …]}``; without a context candidates are whole rows.
        wanted: Columns that must be there.
        most: Candidates at most.

    Raises:
        Refused: If it is anything else.

    Example:
        >>> read(b'{"context": {"user": 7}, "candidates": [{"item": 1}, {"item": 2}]}', ["user", "item"], 10)
        Question(columns={'user': [7], 'item': [1, 2]}, rows=2)
    """
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, f"the body is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise Refused(422, "the body must be an object with candidates")
    if unknown := set(message) - KEYS:
        raise Refused(422, f"unknown key {sorted(unknown)[0]!r}: context and candidates are known")
    context = message.get("context", {})
    candidates = message.get("candidates")
    if not isinstance(context, dict):
        raise Refused(422, "context must be an object: the columns that all candidates share")
    if isinstance(candidates, list):
        rows = len(candidates)
    elif isinstance(candidates, dict):
        rows = _rows(candidates)
    else:
        raise Refused(422, "candidates must be a list of objects, or an object of lists")
    if not rows:
        raise Refused(422, "there are no candidates")
    if rows > most:
        raise Refused(413, f"{rows} candidates: at most {most} are scored at once")
    own = _of_objects(candidates, context, wanted) if isinstance(candidates, list) else candidates
    columns: dict[str, Sequence[Any]] = {}
    for name in wanted:
        if name in context:
            if name in own:
                raise Refused(422, f"column {name!r} is in the context and in the candidates")
            columns[name] = [context[name]]
        elif name in own:
            columns[name] = own[name]
        else:
            raise Refused(422, f"no column {name!r} in the context or in the candidates")
    return Question(columns, rows)


def _rows(candidates: Mapping[str, Any]) -> int:
    if not all(isinstance(values, list) for values in candidates.values()):
        raise Refused(422, "candidates must be a list of objects, or an object of lists")
    lengths = {len(values) for values in candidates.values()}
    if len(lengths) > 1:
        raise Refused(422, f"the columns of candidates have different lengths: {sorted(lengths)}")
    return lengths.pop() if lengths else 0


def _of_objects(candidates: list[Any], context: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, list[Any]]:
    """Columns of a list of objects; all of them must have the same of the columns that count."""
    if set(map(type, candidates)) != {dict}:
        place = next(i for i, one in enumerate(candidates) if not isinstance(one, dict))
        raise Refused(422, f"candidates[{place}] is no object")
    names = [name for name in wanted if name in candidates[0] or name not in context]
    columns: dict[str, list[Any]] = {}
    for name in names:
        try:
            columns[name] = [one[name] for one in candidates]
        except KeyError:
            place = next(i for i, one in enumerate(candidates) if name not in one)
            raise Refused(422, f"candidates[{place}] has no column {name!r}: write null where it is missing") from None
    return columns
