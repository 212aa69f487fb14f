"""Reasons of failed trials."""

import re
import signal
from collections.abc import Sequence
from pathlib import Path

TAIL = 1 << 16
"""Bytes at the end of a log that are searched for the reason."""
FAILED = re.compile(r"^(error:|training failed:|[\w.]*(?:Error|Exception)\b)")
"""Lines that say why a run ended: messages of the command, and the last line of a traceback."""
NEVER_SCORED = "the validation score was never defined"


def failure_reason(exit_code: int | None, log: Path) -> str:
    r"""The reason for which a trial has no value.

    Args:
        exit_code: Exit code of its process; negative for a signal.
        log: File with its output.

    Example:
        >>> import tempfile
        >>> log = Path(tempfile.mkdtemp()) / "0000.log"
        >>> _ = log.write_text("recipe ads\nerror: 1 problem in the configuration\n  optimizer.lr: is -1\n")
        >>> failure_reason(2, log), failure_reason(0, log), failure_reason(-9, log)
        ('1 problem in the configuration: optimizer.lr: is -1', 'the validation score was never defined', 'SIGKILL')
    """
    if not exit_code:
        return NEVER_SCORED
    if exit_code < 0:
        return signal.Signals(-exit_code).name
    return _last_reason(_lines(log)) or f"exit code {exit_code}"


def _lines(log: Path) -> list[str]:
    if not log.is_file():
        return []
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL))
        return file.read().decode("utf-8", "replace").splitlines()


def _last_reason(lines: Sequence[str]) -> str:
    """The last line with a reason, and the indented lines below it."""
    places = [place for place, line in enumerate(lines) if FAILED.match(line)]
    if not places:
        return ""
    first = re.sub("^(error|training failed): ", "", lines[places[-1]])
    rest = []
    for line in lines[places[-1] + 1 :]:
        if not line.startswith("  "):
            break
        rest.append(line.strip())
    return ": ".join([first, "; ".join(rest)]) if rest else first
