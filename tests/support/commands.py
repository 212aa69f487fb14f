"""A command in this process."""

import pytest

from mtl_lightning.cli.app import main


def command(*arguments: str) -> int:
    """Its exit code."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0)
