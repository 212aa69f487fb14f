"""Random tables through ``fit``: each trains, or is refused with an error that is meant for the user."""

import contextlib
import io
import json
import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtl_lightning.cli.app import main

ODD = ["", " ", "a", "ä", "日本", "NA", "null", "007", "1e5", '"', ",", "\n", "🙂", "nan"]
TEXT = st.one_of(st.sampled_from(ODD), st.text(max_size=6))
HUGE = st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1), st.just(2**53 + 1))
FLOATS = st.one_of(st.floats(-5, 5), st.floats(width=64))
LISTS = st.lists(HUGE, max_size=4)
COLUMNS = {
    "text": (TEXT, pa.string(), ("categorical", "hashed", "text", "sequence", "numeric", "date")),
    "huge": (HUGE, pa.int64(), ("categorical", "hashed", "numeric", "buckets", "date")),
    "float": (FLOATS, pa.float64(), ("numeric", "buckets", "categorical", "hashed")),
    "truth": (st.booleans(), pa.bool_(), ("categorical", "numeric")),
    "list": (LISTS, pa.list_(pa.int64()), ("sequence", "sequence", "sequence", "categorical")),
    "none": (st.none(), pa.null(), ("categorical", "numeric", "sequence", "text")),
}
"""Values, type and possible kinds of features of a column."""

LABELS = {
    "binary": (st.one_of(st.integers(0, 1), st.none()), pa.int64()),
    "one class": (st.just(1), pa.int64()),
    "unknown": (st.none(), pa.int64()),
    "regression": (st.one_of(FLOATS, st.none()), pa.float64()),
    "count": (st.one_of(st.integers(0, 50), st.none()), pa.int64()),
    "multiclass": (st.one_of(TEXT, st.none()), pa.string()),
    "multilabel": (st.one_of(st.lists(TEXT, max_size=3), st.none()), pa.list_(pa.string())),
    "ordinal": (st.one_of(st.integers(0, 4), st.none()), pa.int64()),
    "soft_binary": (st.one_of(st.floats(0, 1), st.none()), pa.float64()),
    "value": (st.one_of(st.floats(0, 1e6), st.just(0.0), st.none()), pa.float64()),
}
KINDS = {"one class": "binary", "unknown": "binary"}


@st.composite
def problems(draw):
    """A table with a recipe for it."""
    rows = draw(st.sampled_from([0, 1, 2, 5, 20, 40, 40, 60, 60]))
    columns, features = {}, {}
    for number in range(draw(st.integers(1, 4))):
        values, kind, possible = COLUMNS[draw(st.sampled_from(sorted(COLUMNS)))]
        name = draw(st.sampled_from([f"c{number}", f"ö {number}", f"x.{number}"]))
        columns[name] = pa.array(draw(st.lists(st.one_of(values, st.none()), min_size=rows, max_size=rows)), kind)
        features[f"f{number}"] = {"kind": draw(st.sampled_from(possible)), "column": name}
    chosen = draw(st.sampled_from(sorted(LABELS)))
    values, kind = LABELS[chosen]
    columns["label"] = pa.array(draw(st.lists(values, min_size=rows, max_size=rows)), kind)
    tasks = {"target": {"kind": KINDS.get(chosen, chosen), "label": "label"}}
    if draw(st.booleans()):
        columns["other"] = pa.array(draw(st.lists(st.integers(0, 1), min_size=rows, max_size=rows)), pa.int64())
        tasks["other"] = {"kind": "binary", "label": "other"}
    recipe = {
        "extends": "base", "features": features, "tasks": tasks, "encoder": {"width": 2},
        "architecture": {"name": "shared_bottom", "hidden": [4]}, "data": {"batch_size": 8},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    }  # fmt: skip
    return pa.table(columns), recipe, draw(st.sampled_from(["parquet", "jsonl", "csv"]))


def _as_text(column):
    """A column of lists as delimited text, as CSV has it."""
    if not pa.types.is_list(column.type):
        return column
    return pa.array([None if item is None else "|".join(map(str, item)) for item in column.to_pylist()], pa.string())


def write(table, path):
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in table.to_pylist()))
    else:
        columns = {name: _as_text(table[name]) for name in table.column_names}
        pa.table(columns).to_pandas().to_csv(path, index=False)


def outcome(table, recipe, ending):
    """Exit code and everything that was printed."""
    out = io.StringIO()
    with tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
        os.environ["MTL_CACHE"] = str(Path(directory) / "cache")
        write(table, Path(f"log.{ending}"))
        Path("recipe.yaml").write_text(yaml.safe_dump(recipe, allow_unicode=True))
        code = 0
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                main(["fit", "recipe=recipe.yaml", "source=table", f"source.path=log.{ending}", "run.dir=run"])
        except SystemExit as end:
            code = int(end.code or 0)
    return code, out.getvalue()


def check(problem):
    code, shown = outcome(*problem)
    assert code in (0, 2), shown
    assert "Traceback" not in shown
    if code == 2:
        assert shown.strip()


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(problems())
def test_random_tables_train_or_are_refused(problem):
    check(problem)


@pytest.mark.slow
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(problems())
def test_many_random_tables_train_or_are_refused(problem):
    check(problem)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"x": [2**62] * 40}, "holds 4611686018427387904, which is not a time in s"),
        ({"label": [0.5, 0.25] * 19 + [0.5, 1e300]}, "is too large for float32 in row 39"),
        ({"label": [0.5, 0.25] * 19 + [0.5, float("inf")]}, "is infinite in row 39"),
    ],
)
def test_numbers_beyond_what_a_model_holds_are_named_with_their_row(column, message):
    rows = {"x": [3600 * n for n in range(40)], "label": [n / 40 for n in range(40)], **column}
    recipe = {
        "extends": "base", "features": {"hour": {"kind": "date", "column": "x"}}, "encoder": {"width": 2},
        "tasks": {"target": {"kind": "regression", "label": "label"}},
    }  # fmt: skip
    code, shown = outcome(pa.table(rows), recipe, "parquet")
    assert code == 2
    assert message in " ".join(shown.split())


def broken(path):
    """Files with the ways in which they are broken, and what is said of them."""
    whole = pa.table({"x": list(range(5000)), "label": [n % 2 for n in range(5000)]})
    pq.write_table(whole, path / "cut.parquet")
    content = (path / "cut.parquet").read_bytes()
    (path / "cut.parquet").write_bytes(content[: len(content) // 2])
    (path / "short.csv").write_text("x,label\n1,0\n2\n3,1\n")
    (path / "latin.csv").write_bytes("x,label\na,0\nb,1\ncafé,0\n".encode("latin-1"))
    (path / "wide.csv").write_bytes("x,label\na,0\n".encode("utf-16"))
    (path / "cut.jsonl").write_text('{"x": 1, "label": 0}\n{"x": 2, "label"')
    (path / "latin.jsonl").write_bytes('{"x": "a", "label": 0}\n{"x": "é", "label": 1}\n'.encode("latin-1"))
    (path / "empty.csv").write_text("")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cut.parquet", "cut.parquet can't be read"),
        ("short.csv", "short.csv: line 3 has 1 values where 2 are expected"),
        ("latin.csv", "latin.csv: line 4, column 'x': the text is not UTF-8"),
        ("wide.csv", "wide.csv"),
        ("cut.jsonl", "cut.jsonl: line 2 is not valid JSON"),
        ("latin.jsonl", "latin.jsonl: line 2 is not UTF-8"),
        ("empty.csv", "empty.csv is empty"),
        ("none.csv", "no file"),
    ],
)
def test_broken_files_are_named_by_fit(tmp_path, monkeypatch, capsys, name, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "400")
    broken(tmp_path)
    (tmp_path / "recipe.yaml").write_text(
        "extends: base\nfeatures: {x: categorical}\ntasks: {label: {kind: binary, label: label}}\n"
    )
    with pytest.raises(SystemExit) as end:
        main(["fit", "recipe=recipe.yaml", "source=table", f"source.path={name}", "run.dir=run"])
    shown = " ".join(capsys.readouterr().err.split())
    assert end.value.code == 2, shown
    assert message in shown
    assert "Traceback" not in shown
    assert not (tmp_path / "run").exists()
