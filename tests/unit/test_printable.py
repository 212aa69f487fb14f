"""Output on the terminal: control characters from logs and recipes are text there."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.table import Table

from mtl_lightning.cli.app import main
from mtl_lightning.printable import Console, printable

PACKAGE = Path(__file__).parents[2] / "mtl_lightning"
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def test_control_characters_are_written_out() -> None:
    assert printable("a\x1b[31m\x07\r\x9b\x7f\u202e\u2028\udcff") == r"a\x1b[31m\x07\x0d\u009b\x7f\u202e\u2028\udcff"
    assert printable("日本 é\n\tx") == "日本 é\n\tx"


def test_a_table_shows_them_in_full_and_keeps_its_own_styles(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("name\x1b[2J")
    table.add_row("[bold]x\x9b2J[/bold]")
    Console(force_terminal=True, color_system="standard", width=40).print(table)
    out = capsys.readouterr().out
    assert r"name\x1b[2J" in out
    assert r"x\u009b2J" in out
    assert "\x1b[1m" in out
    assert not CONTROL.search(re.sub(r"\x1b\[[0-9;]*m", "", out))


NAME = "price\x1b]0;owned\x07\x1b[2J\r\x9b31m"


def test_a_column_name_reaches_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pa.table({NAME: [1.0, 2.0] * 50, "user": ["a\x1b[31m", "b"] * 50, "click": [0, 1, 1, 0] * 25})
    pq.write_table(table, tmp_path / "log.parquet")
    recipe = tmp_path / "r.yaml"
    features = f'{{user: categorical, "{NAME.encode("unicode_escape").decode()}": numeric}}'
    source = f"source: {{name: table, path: {tmp_path}/log.parquet}}"
    recipe.write_text(
        f"extends: base\n{source}\nfeatures: {features}\ntasks: {{click: {{kind: binary, label: click}}}}\n"
    )
    calls = [
        ("validate", f"recipe={recipe}"),
        ("data", "inspect", f"recipe={recipe}"),
        ("data", "inspect", f"recipe={recipe}", "--json"),
        ("recipes", "show", str(recipe)),
        ("validate", f"recipe={recipe}", "split.by=user", "split.column=pric"),
        ("validate", f"recipe={recipe}", "weighter=a\x1b[31m"),
        ("validate", "recipe=\x1b[31m"),
    ]
    for call in calls:
        with pytest.raises(SystemExit):
            main(call)
        captured = capsys.readouterr()
        assert captured.out + captured.err
        assert not CONTROL.search(captured.out + captured.err), call


def test_a_recipe_with_escapes_is_printed_raw_to_a_file_only(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("# \x1b[31m\nseed: 1\n")
    command = [sys.executable, "-m", "mtl_lightning", "recipes", "show", "--raw", str(recipe)]
    assert subprocess.run(command, capture_output=True, check=True).stdout == recipe.read_bytes()
    script = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]))"
    shown = subprocess.run(
        [sys.executable, "-c", script, *command], capture_output=True, check=False, stdin=subprocess.DEVNULL
    )
    assert b"\\x1b[31m" in shown.stdout
    assert b"\x1b[31m" not in shown.stdout


def test_every_terminal_of_the_package_is_such_a_one() -> None:
    users = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in getattr(node, "names", ())] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom) and node.module == "rich.console" and "Console" in names:
                users.append(path.name)
    assert users == []
