"""``predict`` writes every row, names the one it can't read, or sets it aside; no rows give an empty output."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import command

pytestmark = pytest.mark.xdist_group("serving")

HEADER = "user\titem\tprice\tclick"
RECIPE = r"""
extends: base
source: {{name: table, path: {log}, format: csv, separator: "\t", thousands: ",", missing: ["—"]}}
features:
  user: categorical
  item: categorical
  price: {{kind: numeric, strip: [$]}}
  level: {{kind: buckets, column: price, strip: [$]}}
tasks: {{click: {{kind: binary, label: click}}}}
split: {{by: random}}
"""


def lines(count: int) -> list[str]:
    random = np.random.default_rng(0)
    return [
        f'u{user}\t"{item}\t${price:,}.5\t{int(user % 2 == item % 2)}'
        for user, item, price in zip(*random.integers(1, 30, (2, count)), random.integers(1, 3000, count), strict=True)
    ]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a log whose values hold quotes, units and thousands."""
    folder = tmp_path_factory.mktemp("plain")
    log = folder / "log.dat"
    log.write_text("\n".join([HEADER, *lines(600)]))
    (folder / "own.yaml").write_text(RECIPE.format(log=log))
    pairs = [f"recipe={folder / 'own.yaml'}", f"run.dir={folder / 'run'}", f"data.cache_dir={folder / 'cache'}"]
    assert command("fit", *pairs, "trainer.max_epochs=1") == 0
    return folder / "run"


def test_a_dat_log_has_the_form_of_the_runs_own(plain: Path, tmp_path: Path) -> None:
    """Format, separator, quote and spellings; each row once, with the missing price like any other."""
    rows = lines(50)
    rows[7] = 'u1\t"2\t—\t1'
    (tmp_path / "next.dat").write_text("\n".join([HEADER, *rows]))
    assert command("predict", f"run={plain}", f"data={tmp_path / 'next.dat'}", f"out={tmp_path / 'out.parquet'}") == 0
    result = pq.read_table(tmp_path / "out.parquet")
    assert result["row"].to_pylist() == list(range(50))
    (tmp_path / "next.csv").write_text("\n".join([HEADER, *rows]).replace(",", "").replace("—", ""))
    options = ["source.quote=null", "source.thousands=null"]
    out = tmp_path / "csv.parquet"
    assert command("predict", f"run={plain}", f"data={tmp_path / 'next.csv'}", f"out={out}", *options) == 0
    assert pq.read_table(out).equals(result)


def test_a_bad_value_is_named_or_set_aside(plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = lines(40)
    rows[4], rows[30] = 'u1\t"2\tdear\t1', 'u1\t"2\t$1,23\t0'
    data, out = tmp_path / "next.dat", tmp_path / "out.parquet"
    data.write_text("\n".join([HEADER, *rows]))
    assert command("predict", f"run={plain}", f"data={data}", f"out={out}") == 2
    assert "column 'price' holds 'dear', which is not a number in row 4" in " ".join(capsys.readouterr().err.split())
    assert not out.exists()
    assert command("predict", f"run={plain}", f"data={data}", f"out={out}", "bad_rows=skip") == 0
    assert "2 rows can't be read" in " ".join(capsys.readouterr().out.split())
    good = [row for row in range(40) if row not in (4, 30)]
    assert pq.read_table(out)["row"].to_pylist() == good
    refused = pq.read_table(tmp_path / "out.refused.parquet").to_pylist()
    assert [(row["row"], row["price"]) for row in refused] == [(4, "dear"), (30, "$1,23")]
    assert refused[1]["reason"] == "column 'price' holds '1,23', which is not a number"
    # What is left is predicted as it is without the others.
    data.write_text("\n".join([HEADER, *[rows[row] for row in good]]))
    assert command("predict", f"run={plain}", f"data={data}", f"out={tmp_path / 'good.parquet'}") == 0
    assert pq.read_table(tmp_path / "good.parquet")["click"].equals(pq.read_table(out)["click"])
    assert command("predict", f"run={plain}", f"data={data}", f"out={tmp_path / 'x.parquet'}", "bad_rows=drop") == 2
    assert "predict: wrong value bad_rows=drop (one of fail, skip)" in capsys.readouterr().err


def test_only_bad_rows_give_an_empty_output(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "next.dat").write_text("\n".join([HEADER, *['u1\t"2\tdear\t1'] * 30]))
    out = tmp_path / "out.parquet"
    assert command("predict", f"run={plain}", f"data={tmp_path / 'next.dat'}", f"out={out}", "bad_rows=skip") == 0
    assert pq.read_table(out).schema.names == ["row", "click"]
    assert (pq.read_table(out).num_rows, pq.read_table(tmp_path / "out.refused.parquet").num_rows) == (0, 30)


EMPTY: dict[str, Any] = {"next.dat": HEADER + "\n", "zero.dat": "", "zero.jsonl": "", "zero.parquet": None}


@pytest.mark.parametrize("name", EMPTY)
def test_no_rows_give_an_empty_output(plain: Path, tmp_path: Path, name: str) -> None:
    data, out = tmp_path / name, tmp_path / "out.parquet"
    if EMPTY[name] is None:
        pq.write_table(pa.table({"user": ["a"], "item": ["b"], "price": [1.0]}).slice(0, 0), data)
    else:
        data.write_text(EMPTY[name])
    assert command("predict", f"run={plain}", f"data={data}", f"out={out}") == 0
    result = pq.read_table(out)
    assert (result.num_rows, result.schema.names, result.schema.field("click").type) == (
        0,
        ["row", "click"],
        pa.float32(),
    )


def test_no_rows_of_an_export_with_histories(export: Path, tmp_path: Path) -> None:
    (tmp_path / "zero.jsonl").write_text("")
    (tmp_path / "one.jsonl").write_text('{"user_id": 1}\n')
    out = tmp_path / "out.parquet"
    assert command("predict", f"run={export}", f"data={tmp_path / 'zero.jsonl'}", f"out={out}") == 0
    names = pq.read_schema(out).names
    assert pq.read_table(out).num_rows == 0
    assert {"row", "user_id", "click", "conversion", "dwell", "score"} <= {*names}
