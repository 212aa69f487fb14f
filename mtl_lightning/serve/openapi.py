"""OpenAPI description of the service: columns of a candidate, and contents of an answer."""

from collections.abc import Mapping, Sequence
from typing import Any

from mtl_lightning.data.features.base import Feature, expression_of
from mtl_lightning.export.bundle import Bundle

LIST = {"type": "array", "items": {"type": ["integer", "number", "string", "null"]}}
TYPES: dict[str, dict[str, Any]] = {
    "numeric": {"type": ["number", "null"]},
    "buckets": {"type": ["number", "null"]},
    "sequence": {**LIST, "type": ["array", "string", "null"]},
    "vector": {**LIST, "type": ["array", "string", "null"]},
    "overlap": {**LIST, "type": ["array", "string", "null"]},
    "semantic_id": {**LIST, "type": ["array", "string", "null"]},
    "history": {
        "type": ["array", "object", "null"],
        "items": {"type": "object"},
        "description": "Events before the request: objects, or an object of parallel lists.",
    },
    "text": {"type": ["string", "null"]},
}
"""JSON types of a column, by the kind of the feature that reads it."""

ANY = {"type": ["integer", "string", "number", "boolean", "null"]}
NUMBERS = {"type": "array", "items": {"type": ["number", "null"]}}


REASONS = {
    "400": "The body is not JSON.",
    "408": "The body took too long.",
    "413": "The body or the batch is too large.",
    "422": "A column is missing or holds values that its feature can't read.",
    "431": "The headers are too large or too many.",
    "503": "Too many connections are open, or the service stops.",
}
"""Reason of each status other than 200."""


def _operation(
    name: str, summary: str, request: dict[str, Any], answer: dict[str, Any], reasons: Mapping[str, str]
) -> dict[str, Any]:
    problem = {"type": "object", "properties": {"error": {"type": "string"}}}
    return {
        "summary": summary,
        "operationId": name,
        "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
        "responses": {
            "200": {"description": f"{summary}.", "content": {"application/json": {"schema": answer}}},
            **{
                status: {"description": reason, "content": {"application/json": {"schema": problem}}}
                for status, reason in reasons.items()
            },
        },
    }


def events_operation(bundle: Bundle, most: int) -> dict[str, Any]:
    """Describe the operation ``POST /events`` of an export.

    Args:
        bundle: The export.
        most: Largest number of events.
    """
    live = bundle.transforms.live
    names = list(live.latest)
    columns = dict.fromkeys(live.columns(names), ANY)
    request = {
        "type": "object",
        "required": ["events"],
        "additionalProperties": False,
        "properties": {
            "events": {
                "description": "Events, or columns of values.",
                "oneOf": [
                    {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": most,
                        "items": {"type": "object", "properties": columns},
                    },
                    {"type": "object", "additionalProperties": {"type": "array", "maxItems": most}},
                ],
            },
            "histories": {
                "type": "array",
                "description": "Histories that have them: without it all, " + (", ".join(names) or "which are none"),
                "items": {"type": "string"},
            },
        },
    }
    counts = {"type": "object", "additionalProperties": {"type": "integer"}}
    answer = {"type": "object", "properties": {"model": {"type": "string"}, "events": counts}}
    further = {"404": "The export has no histories by user.", "507": "Too many users have new events."}
    return _operation("events", "Append events to histories", request, answer, {**REASONS, **further})


def operation(bundle: Bundle, most: int) -> dict[str, Any]:
    """Describe the operation ``POST /score`` of an export.

    Args:
        bundle: The export.
        most: Largest number of candidates.
    """
    features = bundle.transforms.features
    columns = {
        name: {"description": _reads(used), **_type(name, used, features)}
        for name, used in bundle.manifest.columns.items()
    }
    columns |= {
        column: {"description": f"Optional: read by {name}.", **TYPES["vector"]}
        for name, feature in features.items()
        for column in feature.optional_columns(name)
    }
    candidates = {
        "oneOf": [
            {"type": "array", "minItems": 1, "maxItems": most, "items": {"type": "object", "properties": columns}},
            {"type": "object", "additionalProperties": {"type": "array", "maxItems": most}},
        ]
    }
    request = {
        "type": "object",
        "required": ["candidates"],
        "additionalProperties": False,
        "properties": {
            "context": {
                "type": "object",
                "description": "Columns that all candidates share, once.",
                "properties": columns,
            },
            "candidates": {"description": "Rows, or columns of values.", **candidates},
        },
    }
    several = {"type": "array", "items": NUMBERS}
    outputs = {name: NUMBERS if output["width"] == 1 else several for name, output in bundle.manifest.outputs.items()}
    answer = {
        "type": "object",
        "properties": {
            "model": {"type": "string", "description": "The export: the first characters of its manifest's SHA-256."},
            "predictions": {"type": "object", "properties": outputs},
            "score": {**NUMBERS, "description": bundle.manifest.score or "This export has no formula."},
        },
    }
    return _operation("score", "Score candidates", request, answer, REASONS)


def _type(name: str, used: Sequence[str], features: Mapping[str, Feature]) -> dict[str, Any]:
    if not used:
        return TYPES["numeric"]
    kind = features[used[0]].kind
    if expression_of(features[used[0]]) is not None:
        return ANY
    # A history also reads the time of the row.
    return ANY if kind == "history" and name != used[0] else TYPES.get(kind, ANY)


def _reads(features: list[str]) -> str:
    return f"Read by {', '.join(features)}." if features else "Read by a head."
