"""Files by pattern: what glob finds, within limits on what is looked at and found."""

import contextlib
import glob
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lightning.data.readers import listing
from mtl_lightning.data.readers.files import find_files
from mtl_lightning.errors import DataError


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    for above in ("", "a", "b", ".hidden", "a/b", "a/a/b"):
        folder = root / above
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("a.csv", "[x].csv", "é.csv", ".hidden.csv", "_part"):
            (folder / name).write_text("x")
    (root / "link").symlink_to(root / "a")
    return root


PARTS = ["*", "**", "?", "*.csv", "[ab]", "[!a]*", ".h*", "a", "b", "link", "a.csv", "[[]x].csv", "none"]


@settings(max_examples=60)
@given(st.lists(st.sampled_from(PARTS), min_size=1, max_size=5), st.booleans())
def test_a_pattern_finds_the_files_that_glob_finds(tree: Path, parts: list[str], absolute: bool) -> None:
    """Python's glob finds ``a.csv/`` for ``a.csv/**``, which is not a file."""
    with contextlib.chdir(tree):
        pattern = str((tree if absolute else Path()) / Path(*parts))
        expected = {os.path.normpath(name) for name in glob.glob(pattern, recursive=True) if os.path.isfile(name)}  # noqa: PTH113, PTH207
        assert {name for name in listing.match_glob(pattern) if Path(name).is_file()} == expected


def test_a_folder_gives_its_files_without_hidden_ones(tree: Path) -> None:
    result = {str(Path(name).relative_to(tree / "a")) for name in listing.list_below(str(tree / "a"))}
    names = ("a.csv", "[x].csv", "é.csv")
    assert result == {f"{above}{name}" for above in ("", "b/", "a/b/") for name in names}


def test_a_link_to_a_folder_above_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "x.csv").write_text("a\n1\n")
    (tmp_path / "logs" / "again").symlink_to(tmp_path)
    assert [file.path for file in find_files([f"{tmp_path}/**/*.csv"])] == [f"{tmp_path}/logs/x.csv"]


@pytest.mark.parametrize("pattern", ["{}/**/*", "{}/**/none.csv", "{}", "file://{}/**/*", "file://{}"])
def test_a_pattern_that_looks_at_too_much_is_refused(tree: Path, monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    monkeypatch.setattr(listing, "MAX_ENTRIES", 10)
    with pytest.raises(DataError, match=r"source\.path: .* visits more than 10 files and folders"):
        find_files([pattern.format(tree)])


def test_a_pattern_that_matches_too_much_is_refused(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_FILES", 3)
    for pattern in (f"{tree}/**/*.csv", str(tree / "a")):
        with pytest.raises(DataError, match=r"source\.path: .* matches more than 3 files"):
            find_files([pattern])


def test_many_deep_parts_cost_no_more_than_one(tree: Path) -> None:
    assert listing.match_glob(str(tree) + "/**" * 30 + "/a.csv") == listing.match_glob(f"{tree}/**/a.csv")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("~nobody-of-this-name/x.csv", "begins with an unknown user"),
        ("a" * 5000, "File name too long"),
        ("a\0b*", "no file"),
        ("reference://x", "can't be reached"),
        ("nosuchprotocol://x", "can't be reached"),
        ("zip://*.csv::/nowhere.zip", "no file"),
        ("simplecache::x://y", "no file"),
        ("http://", "no file"),
    ],
)
def test_an_address_that_leads_nowhere_is_an_error_of_data(path: str, reason: str) -> None:
    with pytest.raises(DataError, match=rf"source\.path: .*{reason}"):
        find_files([path])


def test_no_path_is_an_error_of_data() -> None:
    with pytest.raises(DataError, match=r"source\.path: no file is named"):
        find_files([])
