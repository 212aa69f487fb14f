"""Check before training, on the training rows only, once per prepared data."""

import json
import time
from pathlib import Path
from typing import Any

from mtl_lightning.data import quality
from mtl_lightning.data.cache.code_digest import digest
from mtl_lightning.data.cache.directory import writing
from mtl_lightning.data.cache.locks import locked
from mtl_lightning.data.preparation.prepared import Prepared
from mtl_lightning.data.quality.findings import Finding, sort_findings
from mtl_lightning.data.quality.labels import funnels, label_pairs
from mtl_lightning.data.quality.leaks import leak_scores, leaks
from mtl_lightning.data.quality.rows import sample

FILE = "quality.json"
"""File with the findings, next to the prepared data."""

SAMPLE, CLASSES = 20_000, 3
"""Number of training rows, and of the most frequent classes, on which leaks are measured before training."""


def check(prepared: Prepared) -> tuple[Finding, ...]:
    """Find leaks and funnel violations in the training split; the result is stored next to the prepared data.

    Args:
        prepared: Prepared data.

    Returns:
        Findings, the most serious first.

    Raises:
        DataError: If the result cannot be written.

    Example:
        >>> import tempfile
        >>> from mtl_lightning.data.datamodule import DataModule
        >>> rows = {"user": ["a", "b", "c", "d"] * 50, "paid": [0, 1, 1, 0] * 50, "click": [0, 1, 1, 0] * 50}
        >>> data = DataModule.from_frame(rows, features={"paid": "categorical"}, tasks={"click": "binary"},
        ...                              cache_dir=tempfile.mkdtemp())
        >>> [finding.name for finding in check(data.prepare())]
        ['leak:paid:click']
    """
    if prepared.path is None:
        return tuple(measure(prepared)["findings"])
    with locked(prepared.path):
        findings = _read(prepared.path / FILE)
        if findings is None:
            result = measure(prepared)
            findings = result["findings"]
            content = {
                "code": code(),
                "seconds": result["seconds"],
                "findings": [finding.to_dict() for finding in findings],
            }
            partial = prepared.path / f"{FILE}.partial"
            with writing(prepared.path):
                partial.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
                partial.replace(prepared.path / FILE)
    return findings


def measure(prepared: Prepared, most: int = SAMPLE) -> dict[str, Any]:
    """Measure leaks and funnels on the training split.

    Args:
        prepared: Prepared data.
        most: Number of rows on which leaks are measured.

    Returns:
        ``findings``, and their basis: ``scores`` of leaks, ``pairs`` of labels, and ``seconds``.
    """
    started = time.perf_counter()
    train, schema = prepared.stores["train"], prepared.schema
    scores = leak_scores(schema, sample(train, most), CLASSES)
    pairs = label_pairs(schema, train)
    findings = sort_findings([*leaks(scores, prepared.transforms), *funnels(schema, pairs)])
    return {"findings": findings, "scores": scores, "pairs": pairs, "seconds": time.perf_counter() - started}


def code() -> str:
    """Return a digest of this subpackage; findings of other code are measured again."""
    return digest(Path(str(quality.__file__)).parent.glob("*.py"))


def _read(path: Path) -> tuple[Finding, ...] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if content.get("code") != code():
        return None
    return tuple(Finding(**finding) for finding in content["findings"])
