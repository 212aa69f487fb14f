"""Findings on a log, with names that a recipe can accept."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mtl_lightning.errors import DataError

LEVELS = ("info", "warning", "serious")
"""Levels of findings, in ascending order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A finding on a log.

    Args:
        level: ``info``; ``warning``, which deserves attention; or ``serious``, which stops ``fit``.
        name: Stable name, with the kind and the subject of the finding (``leak:<feature>:<task>``).
        reason: The measurement.
        hint: Advice, or an empty text.
    """

    level: str
    name: str
    reason: str
    hint: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers, for JSON."""
        return asdict(self)


class QualityError(DataError):
    """Serious findings that the recipe does not accept.

    Args:
        findings: The findings.

    Example:
        >>> print(QualityError([Finding(level="serious", name="leak:x:click", reason="AUC 1.000", hint="remove x")]))
        1 serious finding in the training rows
          leak:x:click: AUC 1.000 (remove x)
        See them with: data inspect. To train anyway: data.accept=[leak:x:click]
    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        count = len(findings)
        super().__init__(f"{count} serious finding{'s' if count != 1 else ''} in the training rows")
        self.findings = tuple(findings)

    def __str__(self) -> str:
        lines = [f"  {finding.name}: {finding.reason} ({finding.hint})" for finding in self.findings]
        accept = ",".join(finding.name for finding in self.findings)
        last = f"See them with: data inspect. To train anyway: data.accept=[{accept}]"
        return "\n".join([self.message, *lines, last])


def sort_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sort findings by level, the most serious first; findings of a level keep their order.

    Example:
        >>> findings = [Finding(level=level, name=level, reason="") for level in LEVELS]
        >>> [finding.name for finding in sort_findings(findings)]
        ['serious', 'warning', 'info']
    """
    return tuple(sorted(findings, key=lambda finding: -LEVELS.index(finding.level)))


def refuse(findings: Iterable[Finding], accepted: Collection[str]) -> None:
    """Refuse serious findings that are not accepted.

    Raises:
        QualityError: If there are any; it lists all of them.
    """
    refused = [finding for finding in findings if finding.level == "serious" and finding.name not in accepted]
    if refused:
        raise QualityError(refused)


def acceptable(features: Iterable[str], tasks: Iterable[str]) -> list[str]:
    """Return all names that serious findings can have.

    Example:
        >>> acceptable(["user"], ["click"])
        ['leak:user:click', 'funnel:click']
    """
    names = list(tasks)
    return [f"leak:{feature}:{task}" for feature in features for task in names] + [f"funnel:{task}" for task in names]
