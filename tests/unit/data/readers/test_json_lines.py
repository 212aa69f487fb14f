"""JSON lines that no parser should see, and part files without a line."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from mtl_lightning.data.readers import json_blocks as json_lines
from mtl_lightning.data.sources.table import Table
from mtl_lightning.errors import DataError

pytestmark = pytest.mark.usefixtures("cache")


def nested(levels: int, kind: str) -> str:
    return '{"a":' * levels + "1" + "}" * levels if kind == "object" else '{"a":' + "[" * levels + "]" * levels + "}"


@pytest.mark.parametrize("kind", ["object", "list"])
@pytest.mark.parametrize("levels", [200, 5_000, 500_000])
def test_deep_nesting_is_named_with_its_line(tmp_path: Path, levels: int, kind: str) -> None:
    """Arrow's parser ends the process at 50,000 levels."""
    (tmp_path / "log.jsonl").write_text('{"b": 1}\n{"b": 2}\n' + nested(levels, kind) + "\n")
    with pytest.raises(DataError, match=r"log\.jsonl: line 3 is nested more than 100 levels deep"):
        Table(path=str(tmp_path / "log.jsonl")).schema()


def test_many_brackets_are_not_deep(tmp_path: Path) -> None:
    rows = [{"seen": [{"id": number, "text": "[[[{{{" * 30} for number in range(200)]}, {"seen": []}]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    result = list(Table(path=str(tmp_path / "log.jsonl")).rows())
    assert [len(row["seen"]) for row in result] == [200, 0]


def test_a_long_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "BLOCK", 100)
    monkeypatch.setattr(json_lines, "LONGEST", 1000)
    lines = [json.dumps({"a": "x" * size}) for size in (10, 800, 2000)]
    (tmp_path / "log.jsonl").write_text("\n".join(lines[:2]))
    assert len(list(Table(path=str(tmp_path / "log.jsonl")).rows())) == 2
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"log\.jsonl: line 3 is longer than"):
        Table(path=str(tmp_path / "log.jsonl")).schema()


READ = """
import resource, sys
from mtl_lightning.data.sources.table import Table
from mtl_lightning.errors import DataError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    Table(path=sys.argv[1]).schema()
except DataError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


def test_a_line_that_unpacks_to_a_gigabyte_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"a": 1}\n{"a": "')
        for _ in range(1024):
            file.write(b" " * (1 << 20))
    report = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True).stdout
    message, grown = report.strip().splitlines()
    assert "log.jsonl.gz: line 2 is longer than 64 MiB" in message
    assert int(grown) < 400


@pytest.mark.parametrize(("suffix", "line"), [("csv", "user,click\n1,0\n"), ("jsonl", '{"user": 1, "click": 0}\n')])
@pytest.mark.parametrize("nothing", ["", "\n"])
def test_an_empty_part_is_skipped_with_a_warning(tmp_path: Path, suffix: str, line: str, nothing: str) -> None:
    for number, text in enumerate([nothing, line, nothing, line]):
        (tmp_path / f"part-{number}.{suffix}").write_text(text)
    source = Table(path=str(tmp_path / f"*.{suffix}"))
    with pytest.warns(UserWarning, match=rf"part-0\.{suffix} is empty and is skipped"):
        rows = pa.concat_tables(source.rows().tables(["user", "click"]))
    assert rows.to_pydict() == {"user": [1, 1], "click": [0, 0]}
    splits = Table(path={"train": str(tmp_path / f"part-1.{suffix}"), "test": str(tmp_path / f"part-2.{suffix}")})
    with pytest.warns(UserWarning, match=rf"part-2\.{suffix} is empty"):
        assert splits.rows("train").num_rows == 1
    assert splits.rows("test").num_rows == 0


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_log_of_empty_parts_is_refused(tmp_path: Path, suffix: str) -> None:
    for number in range(2):
        (tmp_path / f"part-{number}.{suffix}").write_text("")
    with pytest.raises(DataError, match=rf"part-1\.{suffix} are empty"):
        Table(path=str(tmp_path / f"*.{suffix}")).schema()
