"""What was found, under a name that a recipe can accept."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mtl_lightning.errors import DataError

LEVELS = ("info", "warning", "serious")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing to know about a log.

    Args:
        level: ``info``; ``warning``, which should be looked at; ``serious``, which stops ``fit``.
        name: Stable name: what kind it is, and what it is about (``leak:<feature>:<task>``).
        reason: What was measured.
        hint: What to do about it.
    """

    level: str
    name: str
    reason: str
    hint: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain containers."""
        return asdict(self)


class QualityError(DataError):
    """Serious findings that the recipe doesn't accept.

    Args:
        findings: The findings.

    Example:
        >>> print(QualityError([Finding(level="serious", name="leak:x:click", reason="AUC 1.000", hint="remove x")]))
        1 serious finding in the training rows
          leak:x:click: AUC 1.000 (remove x)
        Look with: data inspect. To train all the same: data.accept=[leak:x:click]
    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        count = len(findings)
        super().__init__(f"{count} serious finding{'s' if count != 1 else ''} in the training rows")
        self.findings = tuple(findings)

    def __str__(self) -> str:
        lines = [f"  {one.name}: {one.reason} ({one.hint})" for one in self.findings]
        accept = ",".join(one.name for one in self.findings)
        last = f"Look with: data inspect. To train all the same: data.accept=[{accept}]"
        return "\n".join([self.message, *lines, last])


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The most serious first, else as they came.

    Example:
        >>> few = [Finding(level=level, name=level, reason="") for level in LEVELS]
        >>> [one.name for one in ordered(few)]
        ['serious', 'warning', 'info']
    """
    return tuple(sorted(findings, key=lambda one: -LEVELS.index(one.level)))


def refuse(findings: Iterable[Finding], accepted: Collection[str]) -> None:
    """Stop at serious findings that are not accepted.

    Raises:
        QualityError: With all of them.
    """
    left = [one for one in findings if one.level == "serious" and one.name not in accepted]
    if left:
        raise QualityError(left)


def acceptable(features: Iterable[str], tasks: Iterable[str]) -> list[str]:
    """Every name that a serious finding can have.

    Example:
        >>> acceptable(["user"], ["click"])
        ['leak:user:click', 'funnel:click']
    """
    names = list(tasks)
    return [f"leak:{feature}:{task}" for feature in features for task in names] + [f"funnel:{task}" for task in names]
