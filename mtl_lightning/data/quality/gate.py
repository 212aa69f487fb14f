"""The check before training: cheap, on training rows only, done once for the same prepared data."""

import json
import time
from pathlib import Path
from typing import Any

from mtl_lightning.data import quality
from mtl_lightning.data.cache.code_digest import digest
from mtl_lightning.data.cache.directory import writing
from mtl_lightning.data.cache.locks import locked
from mtl_lightning.data.preparation.prepared import Prepared
from mtl_lightning.data.quality.findings import Finding, ordered
from mtl_lightning.data.quality.labels import funnels, label_pairs
from mtl_lightning.data.quality.leaks import leak_scores, leaks
from mtl_lightning.data.quality.rows import sample

FILE = "quality.json"
SAMPLE, CLASSES = 20_000, 3
"""Training rows on which leaks are measured before training, and the most frequent classes that are asked."""


def check(prepared: Prepared) -> tuple[Finding, ...]:
    """Leaks and funnel violations in the training split; kept beside the prepared data.

    Args:
        prepared: Prepared data.

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
        kept = _kept(prepared.path / FILE)
        if kept is None:
            found = measure(prepared)
            kept = found["findings"]
            content = {"code": code(), "seconds": found["seconds"], "findings": [one.to_dict() for one in kept]}
            partial = prepared.path / f"{FILE}.partial"
            with writing(prepared.path):
                partial.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
                partial.replace(prepared.path / FILE)
    return kept


def measure(prepared: Prepared, most: int = SAMPLE) -> dict[str, Any]:
    """Findings, and what they rest on: ``scores`` of leaks, ``pairs`` of labels, ``seconds``."""
    started = time.perf_counter()
    train, schema = prepared.stores["train"], prepared.schema
    scores = leak_scores(schema, sample(train, most), CLASSES)
    pairs = label_pairs(schema, train)
    findings = ordered([*leaks(scores, prepared.transforms), *funnels(schema, pairs)])
    return {"findings": findings, "scores": scores, "pairs": pairs, "seconds": time.perf_counter() - started}


def code() -> str:
    """A digest of this package: what was kept by other code is measured again."""
    return digest(Path(str(quality.__file__)).parent.glob("*.py"))


def _kept(path: Path) -> tuple[Finding, ...] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if content.get("code") != code():
        return None
    return tuple(Finding(**one) for one in content["findings"])
