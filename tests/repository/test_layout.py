"""Places of modules: what a fingerprint of prepared data covers, and old names of modules that moved."""

import importlib
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import mtl_lightning
from mtl_lightning.moved import MOVED

PACKAGE = Path(mtl_lightning.__file__).parent
AFFECTS = ("arrow", "cache", "expressions", "features", "preparation", "readers", "store", "targets")
DIGESTS = textwrap.dedent("""
    import json, sys
    from pathlib import Path
    from mtl_lightning.data.cache.code_digest import digest, encoding_code

    package = Path(sys.argv[1])
    assert all(file.is_relative_to(package) for file in encoding_code())
    before = digest(encoding_code())
    changed = {}
    for name in sys.argv[2:]:
        file = package / name
        text = file.read_text()
        file.write_text(text + "# edited")
        changed[name] = digest(encoding_code()) != before
        file.write_text(text)
    print(json.dumps(changed))
""")


def test_a_fingerprint_covers_what_affects_encoded_values(tmp_path: Path) -> None:
    copy = tmp_path / "mtl_lightning"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    affects = [f"data/{folder}/{max((copy / 'data' / folder).glob('*.py')).name}" for folder in AFFECTS]
    affects += ["schema.py", "steps.py", "task_kinds.py", "data/datamodule.py"]
    others = ["report/render/tables.py", "data/quality/profile.py", "cli/app.py"]
    program = [sys.executable, "-c", DIGESTS, str(copy), *affects, *others]
    ran = subprocess.run(program, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    changed = dict(re.findall(r'"([^"]+)": (true|false)', ran.stdout))
    assert changed == dict.fromkeys(affects, "true") | dict.fromkeys(others, "false")


@pytest.mark.parametrize("old", sorted(MOVED))
def test_an_old_name_warns_and_has_the_new_contents(old: str) -> None:
    sys.modules.pop(f"mtl_lightning.{old}", None)
    places = [importlib.import_module(f"mtl_lightning.{place}") for place in MOVED[old].split()]
    with pytest.warns(DeprecationWarning, match=f"moved to {re.escape(places[0].__name__)}"):
        moved = importlib.import_module(f"mtl_lightning.{old}")
    for place in places:
        for name, value in vars(place).items():
            if getattr(value, "__module__", None) == place.__name__:
                assert vars(moved)[name] is value


def test_a_module_that_never_was_is_missing() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"mtl_lightning\.nothing"):
        importlib.import_module("mtl_lightning.nothing")


@pytest.mark.parametrize(
    ("package", "module", "names"),
    [
        ("data.cache", "directory", "cache_directory writing"),
        ("data.expressions", "expression", "Expression evaluate_all"),
        ("data.features", "build", "feature kind_of build_features build_transforms"),
        ("data.store", "store", "dtype_of Store file_of"),
        ("layers", "mlp", "make_activation Experts mixture mixtures"),
        ("metrics.ranking", "grouped_metric", "GroupedMetric Rows group_mean"),
        ("metrics.ranking", "order", "Ranking rank sortable"),
        ("report.evaluation", "report", "EvaluationReport evaluation_tables plain wanted"),
    ],
)
def test_names_of_modules_that_are_packages_now_warn(package: str, module: str, names: str) -> None:
    now = importlib.import_module(f"mtl_lightning.{package}")
    place = importlib.import_module(f"mtl_lightning.{package}.{module}")
    for name in names.split():
        with pytest.warns(DeprecationWarning, match=f"{name} moved to {re.escape(place.__name__)}"):
            assert getattr(now, name) is getattr(place, name)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        now.nothing  # noqa: B018


@pytest.mark.parametrize("module", ["data.features.base", "data.transform"])
def test_renamed_classes_warn_and_are_the_new_ones(module: str) -> None:
    from mtl_lightning.data.features.base import ColumnFeature, StatelessTransform

    owner = importlib.import_module(f"mtl_lightning.{module}")
    for old, new in (("Alone", ColumnFeature), ("Stateless", StatelessTransform)):
        with pytest.warns(DeprecationWarning, match=f"{old} is called {new.__name__} now"):
            assert getattr(owner, old) is new
    with pytest.raises(AttributeError, match="has no attribute 'Aloe'"):
        owner.Aloe  # noqa: B018
