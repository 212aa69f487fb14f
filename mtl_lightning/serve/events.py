"""Events that are appended to the histories of the served export."""

from typing import Any

import orjson
import pyarrow as pa

from mtl_lightning.data.arrow.numbers import RowError
from mtl_lightning.data.preparation.live_histories import FullError
from mtl_lightning.data.readers.frames import as_array
from mtl_lightning.errors import DataError, did_you_mean
from mtl_lightning.export.bundle import Bundle
from mtl_lightning.serve.answer import SHOWN
from mtl_lightning.serve.request import RequestError, columns_of_objects, count_rows, parse

KEYS = ("events", "histories")
"""Keys of a body; the first one is required."""


def append(bundle: Bundle, body: bytes, most: int, most_users: int) -> tuple[bytes, int]:
    """Append events to histories: all of a request, or none.

    Args:
        bundle: The export.
        body: JSON ``{"events": [{column: value}, …]}``, or ``{"events": {column: [value, …]}}``. Its key ``histories``
            names the histories that have the events; without it all have.
        most: Largest number of events of a request.
        most_users: Largest number of users of a history with appended events.

    Returns:
        JSON with ``model`` and, in ``events``, the number of events that each history has taken; and the number of
        events of the request.

    Raises:
        RequestError: If the export has no histories, the body cannot be read, or its values cannot be encoded.
    """
    live = bundle.transforms.live
    if not live.latest:
        raise RequestError(404, "this export has no histories that events are appended to: export with histories=true")
    message = parse(body, KEYS)
    names = message.get("histories", list(live.latest))
    if not isinstance(names, list) or not names:
        raise RequestError(422, "histories must be a list of names of histories")
    if odd := [name for name in names if not isinstance(name, str) or name not in live]:
        hint = did_you_mean(str(odd[0]), live.latest) or "the histories are " + ", ".join(live.latest)
        raise RequestError(422, f"histories: no history {odd[0]!r} ({hint})")
    events: Any = message.get("events")
    needed = live.columns(names)
    rows = count_rows(events, "events")
    if rows > most:
        raise RequestError(413, f"{rows} events: at most {most} are taken at once")
    columns = columns_of_objects(events, {}, needed, "events") if isinstance(events, list) else events
    try:
        encoded = live.encode(_table(columns, needed), names)
        live.append(encoded, most_users)
    except RowError as error:
        raise RequestError(422, f"events[{error.index}]: {error}") from error
    except DataError as error:
        raise RequestError(422, f"events: {error}") from error
    except FullError as error:
        raise RequestError(507, str(error)) from error
    taken = {name: len(part.user) for name, part in encoded.items()}
    return orjson.dumps({"model": bundle.identity[:SHOWN], "events": taken}), rows


def _table(columns: dict[str, Any], needed: tuple[str, ...]) -> pa.Table:
    for name in needed:
        if name not in columns:
            raise RequestError(422, f"events: no column {name!r} (write null where it is missing)")
        for place, value in enumerate(columns[name]):
            if isinstance(value, list | dict):
                raise RequestError(422, f"events[{place}]: column {name!r} holds nested values (one value per event)")
    return pa.table({name: as_array(columns[name], name) for name in needed})
