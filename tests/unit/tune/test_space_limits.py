"""A file with a search space that comes from elsewhere: bounded, and regular files only."""

import os
from pathlib import Path

import pytest

from mtl_lightning.errors import MtlError
from mtl_lightning.tune.space import read_dimension, read_space


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: " + "[" * 90 + "]" * 90, "nested in more than 40 levels"),
        (
            "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(f"b{i}: &b{i} [{','.join(['*a'] * 999)}]\n" for i in range(20)),
            "more than 100,000",
        ),
        ("a: !!int x", "invalid literal"),
        ("- a", "a space is a mapping"),
    ],
)
def test_a_hostile_space_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "space.yaml").write_text(text)
    with pytest.raises(MtlError, match=reason):
        read_space(str(tmp_path / "space.yaml"), {}, [])


def test_a_pipe_device_or_unknown_user_is_no_space(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, reason in (
        (tmp_path / "pipe", "a named pipe"),
        ("/dev/zero", "a device"),
        ("~nobody-of-this-name/x", "home"),
    ):
        with pytest.raises(MtlError, match=reason):
            read_space(str(path), {}, [])


def test_a_deep_list_is_refused() -> None:
    with pytest.raises(MtlError, match="nested in more than 40 levels"):
        read_dimension("encoder.width", "[" * 90 + "]" * 90)
    with pytest.raises(MtlError, match="is not a list"):
        read_dimension("encoder.width", "[!!int x]")
