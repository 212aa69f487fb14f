"""Shell completion: typer's script in bash, names of recipes and components, and run directories."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mtl_lightning.plugins import registry

PROGRAM = Path(sys.executable).parent / "mtl-lightning"


def complete(folder: Path, kind: str, *words: str, **environment: str) -> list[str]:
    """Candidates that the program prints for a command line, as the script of a shell calls it."""
    variables = {"_MTL_LIGHTNING_COMPLETE": f"complete_{kind}"}
    if kind == "bash":
        variables |= {"COMP_WORDS": "\n".join(["mtl-lightning", *words]), "COMP_CWORD": str(len(words))}
    else:
        variables |= {"_TYPER_COMPLETE_ARGS": " ".join(["mtl-lightning", *words])}
        variables |= {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    code = "import sys; sys.argv = ['mtl-lightning']; from mtl_lightning.__main__ import main; main()"
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **variables, **environment}, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return [line.split("\t")[0] for line in done.stdout.split("\n") if line]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["va"], ["validate"]),
        (["data", "c"], ["clean"]),
        (["fit", "re"], ["recipe=", "resume="]),
        (["fit", "recipe", "=", "ad"], ["ads", "ads_intent", "adult"]),
        (["fit", "recipe", "=", "ads", "weighter", "=", "pc"], ["pcgrad"]),
        (["tune", "recipe", "=", "ads", "architecture", "=", "pl"], ["ple"]),
        (["compare", "recipe", "=", "ads", "architecture", "=", "mmoe,pl"], ["mmoe,ple"]),
        (["validate", "recipe", "=", "ads", "enc"], [f"encoder={name}" for name in registry().names("encoder")]),
        (["recipes", "show", "adu"], ["adult"]),
        (["data", "clean", "pre"], ["prepared"]),
        (["fit", "--js"], ["--json"]),
    ],
)
def test_bash(words: list[str], expected: list[str], tmp_path: Path) -> None:
    assert complete(tmp_path, "bash", *words) == expected


def test_a_value_right_after_the_equals_sign(tmp_path: Path) -> None:
    assert complete(tmp_path, "bash", "fit", "recipe", "=") == registry().names("recipe")


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["fit", "recipe=adu"], ["recipe=adult"]), (["compare", "weighter=sum,pcg"], ["weighter=sum,pcgrad"])],
)
def test_fish_replaces_the_whole_word(words: list[str], expected: list[str], tmp_path: Path) -> None:
    assert complete(tmp_path, "fish", *words) == expected


def test_run_directories(tmp_path: Path) -> None:
    for run in ("mine", "runs/ads/2026-01-01"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "config.yaml").write_text("")
    assert complete(tmp_path, "bash", "test", "") == ["run=mine", "run=runs/ads/2026-01-01"]
    assert complete(tmp_path, "bash", "fit", "resume", "=", "ru") == ["runs/ads/2026-01-01"]
    assert complete(tmp_path, "bash", "export", "ru") == ["run=mine", "run=runs/ads/2026-01-01"]


def test_a_broken_plugin_prints_nothing_into_the_line(tmp_path: Path) -> None:
    info = tmp_path / "acme_plugin-0.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-plugin\nVersion: 0.3\n")
    (info / "entry_points.txt").write_text("[mtl_lightning]\nacme = acme_not_there\n")
    assert complete(tmp_path, "bash", "recipes", "show", "adu", PYTHONPATH=str(tmp_path)) == ["adult"]


@pytest.mark.skipif(shutil.which("bash") is None or not PROGRAM.exists(), reason="needs bash and the installed program")
def test_the_script_of_bash_completes(tmp_path: Path) -> None:
    script = (
        f'export PATH="{PROGRAM.parent}:$PATH"\n'
        'eval "$(mtl-lightning --show-completion)"\n'
        "COMP_WORDS=(mtl-lightning fit recipe = adu)\nCOMP_CWORD=4\n"
        '_mtl_lightning_completion mtl-lightning\necho "${COMPREPLY[@]}"\ncomplete -p mtl-lightning\n'
    )
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    completed, registered = done.stdout.splitlines()
    assert completed == "adult"
    assert registered == "complete -o default -F _mtl_lightning_completion mtl-lightning"
