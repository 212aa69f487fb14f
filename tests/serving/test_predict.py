"""``predict`` reads files of many forms, resumes where it stopped, and divides the work by rows without a loss."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from commands import command
from warm_python import warm_python

from mtl_lightning.errors import DataError, MtlError
from mtl_lightning.predictions import Parts, Predictor

pytestmark = pytest.mark.xdist_group("serving")  # one run and one export for all of them


@pytest.fixture(scope="module")
def expected(export: Path, log: Path, folder: Path) -> pa.Table:
    assert command("predict", f"run={export}", f"data={log}", f"out={folder / 'expected.parquet'}") == 0
    return pq.read_table(folder / "expected.parquet")


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_csv_and_json_lines(kind: str, export: Path, log: Path, expected: pa.Table, tmp_path: Path) -> None:
    rows = pq.read_table(log)
    path = tmp_path / f"log.{kind}"
    if kind == "jsonl":
        rows.to_pandas().to_json(path, orient="records", lines=True)
    else:
        history = [",".join(map(str, item)) for item in rows["history"].to_pylist()]
        place = rows.column_names.index("history")
        pacsv.write_csv(rows.set_column(place, "history", pa.array(history)), path)
    assert command("predict", f"run={export}", f"data={path}", f"out={tmp_path / 'out.parquet'}") == 0
    result = pq.read_table(tmp_path / "out.parquet")
    assert result["row"].equals(expected["row"])
    for name in ("click", "conversion", "dwell", "score"):  # numbers that were float32 are read as float64
        np.testing.assert_allclose(result[name].to_numpy(), expected[name].to_numpy(), rtol=1e-5)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="a file system in which no file can be made")
def test_an_output_where_no_file_can_be_made_is_told(
    export: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("predict", f"run={export}", f"data={log}", "out=/proc/x.parquet") == 2
    assert "the folder /proc can't be written" in capsys.readouterr().err


def test_an_export_without_rows_says_so(export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("predict", f"run={export}", f"out={tmp_path / 'x.parquet'}") == 2
    assert "predict needs data=" in capsys.readouterr().err
    assert command("predict", f"run={export}", "data=a", "out=b", "data.eval_batch_size=3") == 2
    assert "unknown argument" in capsys.readouterr().err


def test_a_missing_column_is_named(export: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(pq.read_table(log).drop_columns(["price"]), tmp_path / "log.parquet")
    assert command("predict", f"run={export}", f"data={tmp_path / 'log.parquet'}", f"out={tmp_path / 'x.parquet'}") == 2
    assert "no column 'price'" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["log.parquet"]


def small(log: Path) -> Iterator[pa.Table]:
    """The rows of a log in blocks of 400."""
    table = pq.read_table(log)
    numbered = table.append_column("__row__", pa.array(range(table.num_rows)))
    return (numbered.slice(start, 400) for start in range(0, table.num_rows, 400))


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_the_output_does_not_depend_on_who_wrote_it(
    processes: int, export: Path, log: Path, expected: pa.Table, tmp_path: Path
) -> None:
    predictor = Predictor.of_export(export)
    alone = tmp_path / "alone.parquet"
    assert Parts(alone, {"model": "m"}).write(small(log), predictor.predict) == 3000
    out = tmp_path / "shared.parquet"
    results = []
    for rank in range(processes):
        seen: list[int] = []

        def predict(block: pa.Table, seen: list[int] = seen) -> pa.Table:
            seen.append(block["__row__"][0].as_py() // 400)
            return predictor.predict(block)

        results.append(Parts(out, {"model": "m"}).write(small(log), predict, rank=rank, processes=processes))
        assert seen == list(range(rank, 8, processes))
    assert results == [None] * (processes - 1) + [3000]
    assert out.read_bytes() == alone.read_bytes()
    assert pq.read_table(out)["click"].to_pylist() == pytest.approx(expected["click"].to_pylist(), abs=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone.parquet", "shared.parquet"]


@pytest.mark.parametrize("dies_at", [0, 3, 7])
def test_one_that_died_goes_on(dies_at: int, export: Path, log: Path, tmp_path: Path) -> None:
    predictor = Predictor.of_export(export)
    whole, out = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    Parts(whole, {"model": "m"}).write(small(log), predictor.predict)

    def dies(block: pa.Table) -> pa.Table:
        if block["__row__"][0].as_py() == 400 * dies_at:
            raise KeyboardInterrupt
        return predictor.predict(block)

    with pytest.raises(KeyboardInterrupt):
        Parts(out, {"model": "m"}).write(small(log), dies)
    assert not out.exists()
    again = Parts(out, {"model": "m"})
    assert again.count_written() == dies_at
    counted: list[int] = []

    def counts(block: pa.Table) -> pa.Table:
        counted.append(1)
        return predictor.predict(block)

    # Other processes than before may resume.
    results = [again.write(small(log), counts, rank=1, processes=2)]
    results += [again.write(small(log), counts, rank=0, processes=2)] if results == [None] else []
    assert results[-1] == 3000
    assert len(counted) == 8 - dies_at
    assert out.read_bytes() == whole.read_bytes()


def test_blocks_have_one_size_whatever_the_files_row_groups(export: Path, log: Path) -> None:
    predictor = Predictor.of_export(export)
    assert pq.ParquetFile(log).num_row_groups == 8
    assert [block.num_rows for block in predictor.rows(str(log))[1]] == [3000]
    predictor.block = 1700
    assert [block.num_rows for block in predictor.rows(str(log))[1]] == [1700, 1300]


def test_parts_of_another_model_are_refused(tmp_path: Path) -> None:
    Parts(tmp_path / "out.parquet", {"model": "a"})
    with pytest.raises(MtlError, match="another model or of other rows"):
        Parts(tmp_path / "out.parquet", {"model": "b"})
    with pytest.raises(DataError, match="no rows"):
        Parts(tmp_path / "none.parquet", {}).write([], lambda block: block)


SCRIPT = """
import sys
from pathlib import Path
from mtl_lightning.predictions import Parts, Predictor
from mtl_lightning.ranks import process_count, process_rank

folder, data, out = sys.argv[1:]
predictor = Predictor.of_export(Path(folder))
predictor.block = 500
name, blocks = predictor.rows(data)
parts = Parts(Path(out), {"model": predictor.identity, "rows": name})
parts.write(blocks, predictor.predict, rank=process_rank(), processes=process_count())
"""


@pytest.mark.slow
def test_a_killed_process_and_two_that_go_on(export: Path, log: Path, tmp_path: Path) -> None:
    rows = pa.concat_tables([pq.read_table(log)] * 20)
    pq.write_table(rows, tmp_path / "log.parquet")

    def start(out: Path, **environment: str) -> subprocess.Popen[bytes]:
        arguments = [str(export), str(tmp_path / "log.parquet"), str(out)]
        return subprocess.Popen([warm_python(), "-c", SCRIPT, *arguments], env={**os.environ, **environment})

    assert start(tmp_path / "whole.parquet").wait(250) == 0
    out = tmp_path / "out.parquet"
    first = start(out)
    parts = tmp_path / "out.parquet.parts"
    deadline = time.monotonic() + 120
    while len(list(parts.glob("part-*.parquet"))) < 2:
        assert time.monotonic() < deadline
        assert first.poll() is None
        time.sleep(0.005)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not out.exists()
    both = [start(out, RANK=str(rank), WORLD_SIZE="2") for rank in (0, 1)]
    assert [item.wait(250) for item in both] == [0, 0]
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert pq.read_table(out)["row"].to_pylist() == list(range(rows.num_rows))


def test_mended_rows_are_predicted_after_rows_that_were_refused(
    export: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pq.read_table(log)
    odd = rows.set_column(rows.column_names.index("price"), "price", pa.array(["dear"] * rows.num_rows))
    path, out = tmp_path / "log.parquet", tmp_path / "out.parquet"
    pq.write_table(odd, path)
    assert command("predict", f"run={export}", f"data={path}", f"out={out}") == 2
    assert "price" in capsys.readouterr().err
    assert [item.name for item in tmp_path.iterdir()] == ["log.parquet"]
    pq.write_table(rows, path)
    assert command("predict", f"run={export}", f"data={path}", f"out={out}") == 0


def test_only_parquet_is_written(export: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("predict", f"run={export}", f"data={log}", f"out={tmp_path / 'x.csv'}") == 2
    assert "x.parquet" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_rows_written_otherwise_are_read_as_the_command_says(
    export: Path, log: Path, expected: pa.Table, tmp_path: Path
) -> None:
    frame = pq.read_table(log).to_pandas()
    frame["history"] = [",".join(map(str, item)) for item in frame["history"]]
    frame.to_csv(tmp_path / "log.txt", sep=";", index=False, encoding="latin-1")
    options = ["source.separator=;", "source.encoding=latin-1", "source.format=csv"]
    out = tmp_path / "out.parquet"
    assert command("predict", f"run={export}", f"data={tmp_path / 'log.txt'}", f"out={out}", *options) == 0
    np.testing.assert_allclose(pq.read_table(out)["score"].to_numpy(), expected["score"].to_numpy(), rtol=1e-5)


def test_a_run_whose_log_is_gone_predicts_and_exports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows to come are written as the log was: with semicolons, without a header."""
    random = np.random.default_rng(0)
    lines = [f"{user};{item};{int(user % 2 == item % 2)}" for user, item in random.integers(0, 30, (2000, 2))]
    training, later = tmp_path / "log.csv", tmp_path / "later.csv"
    training.write_text("\n".join(lines))
    later.write_text("\n".join(lines[:50]))
    recipe = tmp_path / "own.yaml"
    recipe.write_text(
        "extends: base\n"
        f"source: {{name: table, path: {training}, separator: ';', names: [user, item, click]}}\n"
        "features: {user: categorical, item: categorical}\n"
        "tasks: {click: {kind: binary, label: click}}\n"
    )
    run = tmp_path / "run"
    pairs = [f"recipe={recipe}", f"run.dir={run}", f"data.cache_dir={tmp_path / 'cache'}", "trainer.max_epochs=1"]
    assert command("fit", *pairs) == 0
    training.unlink()
    out = tmp_path / "out.parquet"
    assert command("predict", f"run={run}", f"data={later}", f"out={out}") == 0
    assert pq.read_table(out).num_rows == 50
    assert command("export", f"run={run}", f"out={tmp_path / 'export'}", "calibrate=false") == 0
    capsys.readouterr()
    assert command("predict", f"run={run}", f"out={tmp_path / 'own.parquet'}") == 2
    assert "log.csv" in capsys.readouterr().err


def test_a_run_names_the_file_that_lacks_a_column(
    run: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(pq.read_table(log).drop_columns(["price"]), tmp_path / "log.parquet")
    assert command("predict", f"run={run}", f"data={tmp_path / 'log.parquet'}", f"out={tmp_path / 'x.parquet'}") == 2
    said = capsys.readouterr().err
    assert "no column 'price'" in said
    assert "log.parquet" in said
    assert "__row__" not in said
