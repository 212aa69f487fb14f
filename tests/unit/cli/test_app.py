"""The command line: exit codes, errors without tracebacks, recipes, and no torch where none is needed."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from mtl_lightning.cli.allocation import VARIABLES
from mtl_lightning.cli.app import main
from mtl_lightning.config import compose


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command in this process."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    captured = capsys.readouterr()
    return int(end.value.code or 0), captured.out, captured.err


def test_an_error_is_told_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "validate", "recipe=ads", "weighter=pcgrd", "encoder.widht=1")
    assert code == 2
    assert out == ""
    assert err == (
        "error: 2 problems in the configuration\n"
        "  encoder.widht: unknown option of encoder 'embedding' (did you mean 'width'?)\n"
        "  weighter.name: no weighter is called 'pcgrd' (did you mean 'pcgrad'?)\n"
    )


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTL_DEBUG", "1")
    code, _, err = run(capsys, "validate", "recipe=adz")
    assert code == 2
    assert "Traceback (most recent call last)" in err
    assert "error: no recipe is called 'adz' (did you mean 'ads'?)" in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("validate", "ads"), "'ads' is not a key=value pair (write for instance recipe=ads"),
        (("fit", "--max-epochs", "3"), "No such option"),
        (("validate",), "no recipe is given"),
        (("fit",), "no recipe is given"),
        (("validate", "recipe=ads", "resume=runs/x"), "validate does not accept resume="),
        (("validate", "recipe=ads", "init_from=runs/x"), "no run directory runs/x"),
        (("validate", "recipe=./none.yaml"), "none.yaml: No such file or directory"),
        (("data", "inspect", "recipe=ads", "split.column=tim"), "split.column: no column 'tim'"),
        (("data", "fetch", "simulator"), "the source 'simulator' has nothing to fetch"),
        (("data", "fetch", "simulatr"), "did you mean 'simulator'?"),
        (("data", "fetch", "simulator", "rowz=3"), "source.rowz: unknown option"),
        (("recipes", "show", "adz"), "did you mean 'ads'?"),
        (("recipes", "copy", "adz", "x.yaml"), "did you mean 'ads'?"),
        (("nonsense",), "No such command"),
    ],
)
def test_every_mistake_ends_with_code_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], expected: str
) -> None:
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert expected in err
    assert "Traceback" not in err


def test_brackets_in_values_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, err = run(capsys, "validate", "recipe=ads", "encoder.width=[/red]x")
    assert "not '[/red]x'" in err


def test_validate_says_ok_and_what_was_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "validate", "recipe=ads", "weighter=pcgrad", "heads.click={hidden: [8]}")
    assert code == 0
    assert "ok ads" in out
    assert "pcgrad" in out
    assert err == ""
    code, _, err = run(capsys, "validate", "recipe=ads", "tasks.conversion=null")
    assert code == 0
    assert err == "heads: dropped conversion, whose task is removed\n"


def test_recipes_are_listed_with_what_they_are_about(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "recipes", "list", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0
    assert {"base", "ads"} <= set(rows)
    assert all(row["about"] for row in rows.values() if row["distribution"] == "mtl-lightning")


def test_show_prints_a_page_that_composes_to_the_same(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = run(capsys, "recipes", "show", "ads", "weighter=famo", "source=table", "source.path=[*].csv")
    assert code == 0
    assert err == "# source: dropped scenario, rows, which the recipe gave to 'simulator'\n"
    path = tmp_path / "shown.yaml"
    path.write_text(out, encoding="utf-8")
    pairs = ["weighter=famo", "source=table", "source.path=[*].csv"]
    assert compose(str(path)).plain == compose("ads", pairs).plain


def test_copy_writes_the_file_and_never_over_another(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    target = tmp_path / "mine.yaml"
    assert run(capsys, "recipes", "copy", "ads", str(target))[0] == 0
    code, raw, _ = run(capsys, "recipes", "show", "--raw", "ads")
    assert (code, raw) == (0, target.read_text(encoding="utf-8"))
    target.write_text("seed: 1\n")
    code, _, err = run(capsys, "recipes", "copy", "ads", str(target))
    assert code == 2
    assert "is not overwritten" in err
    assert target.read_text() == "seed: 1\n"
    assert run(capsys, "recipes", "copy", "ads", str(tmp_path))[0] == 0
    assert compose(str(tmp_path / "ads.yaml")).plain == compose("ads").plain


def test_inspect_counts_rows_nulls_and_labels(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "data", "inspect", "--json", "recipe=ads", "source.rows=4000", "split.test=0.2")
    result = json.loads(out)
    assert code == 0
    assert sum(result["rows"].values()) == 4000
    assert result["rows"]["train"] == pytest.approx(2800, abs=40)
    report = result["columns"]["click"]
    assert {name: report[name] for name in ("type", "rows", "nulls", "distinct")} == {
        "type": "int8", "rows": 4000, "nulls": 0, "distinct": 2,
    }  # fmt: skip
    assert report["missing"] == {"train": 0, "validation": 0, "test": 0}
    clicks = sum(part["known"] * part["mean"] for part in result["labels"]["click"].values())
    assert sum(part["known"] for part in result["labels"]["dwell"].values()) == pytest.approx(clicks)
    assert result["columns"]["dwell"]["nulls"] == pytest.approx(4000 - clicks)
    assert run(capsys, "data", "inspect", "recipe=ads", "source.rows=4000")[0] == 0


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from mtl_lightning import __version__

    assert run(capsys, "--version") == (0, f"{__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["fit", "--help"],
        ["doctor", "--help"],
        ["data", "clean"],
        ["plugins"],
        ["plugins", "--json"],
        ["recipes", "list"],
        ["recipes", "show", "ads", "weighter=famo"],
    ],
)
def test_what_lists_imports_no_torch(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from mtl_lightning.__main__ import main\n"
        "try:\n    main()\n"
        "finally:\n    print(sorted({'torch', 'datasets', 'pandas'} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("said", "spins"), [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")]
)
def test_threads_of_commands_wait_asleep_unless_the_environment_says_otherwise(
    said: dict[str, str], spins: str
) -> None:
    program = (
        "import os\n"
        "from mtl_lightning.__main__ import main\n"
        "try:\n    main(['recipes', 'list'])\n"
        "finally:\n    print('spins', os.environ.get('GOMP_SPINCOUNT'))\n"
    )
    inherited = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=inherited | said
    )
    assert done.stdout.splitlines()[-1] == f"spins {spins}"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
@pytest.mark.parametrize(("said", "keeps"), [({}, True), ({"MALLOC_TRIM_THRESHOLD_": "131072"}, False)])
def test_commands_keep_freed_memory_unless_the_environment_says_otherwise(said: dict[str, str], keeps: bool) -> None:
    """Blocks of 100 MiB that come and go fault in pages once, where glibc by itself would give them back each time."""
    program = (
        "import contextlib, resource, torch\n"
        "from mtl_lightning.__main__ import main\n"
        "with contextlib.suppress(SystemExit):\n    main(['recipes', 'list'])\n"
        "def faults():\n    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "torch.ones(25 << 20)\n"
        "before = faults()\n"
        "for _ in range(10):\n    torch.ones(25 << 20)\n"
        "print('faults', faults() - before)\n"
    )
    inherited = {k: v for k, v in os.environ.items() if k not in VARIABLES and k != "THP_MEM_ALLOC_ENABLE"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=inherited | said
    )
    faults = int(done.stdout.split()[-1])
    # 25,600 pages each time, ten times; or once more where the heap grows behind the first.
    assert (faults < 60_000) == keeps


def test_the_module_is_the_program(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mtl_lightning", "recipes", "show", "adz"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: no recipe is called 'adz' (did you mean 'ads'?)\n"
    assert done.stdout == ""


def test_public_names_resolve_and_importing_them_is_light() -> None:
    program = (
        "import sys, mtl_lightning\n"
        "assert 'torch' not in sys.modules\n"
        "for name in mtl_lightning.__all__:\n    getattr(mtl_lightning, name)\n"
        "assert set(mtl_lightning.__all__) <= set(dir(mtl_lightning))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
