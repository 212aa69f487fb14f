"""Composition: recipes, what they extend, pairs, interpolations."""

from pathlib import Path
from typing import Any

import pytest

from mtl_lightning.config import compose, dump, read_arguments, recipe_text
from mtl_lightning.config.layers import lay_over
from mtl_lightning.errors import ConfigError, MtlError


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_chain_of_recipes_is_laid_over_each_other(tmp_path: Path) -> None:
    write(tmp_path / "one.yaml", "extends: base\nseed: 1\ntrainer: {max_epochs: 7}\n")
    two = write(tmp_path / "two.yaml", "extends: ./one.yaml\nseed: 2\n")
    composed = compose(two, ["trainer.max_steps=5"])
    assert composed.recipe == "two"
    assert composed.plain["seed"] == 2
    assert composed.plain["trainer"]["max_epochs"] == 7
    assert composed.plain["trainer"]["max_steps"] == 5
    assert composed.plain["encoder"] == {"name": "embedding"}


def test_a_non_ascii_recipe_is_found_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "配方 é"
    folder.mkdir()
    path = write(folder / "点击.yaml", "source: {name: table, path: 数据/日志.csv}\n")
    composed = compose(path)
    assert composed.recipe == "点击"
    assert composed.plain["source"]["path"] == "数据/日志.csv"
    assert "数据/日志.csv" in dump(composed.plain)


def test_a_cycle_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "extends: b.yaml\n")
    write(tmp_path / "b.yaml", "extends: a.yaml\n")
    with pytest.raises(MtlError, match=r"recipes extend each other: .*a\.yaml → .*b\.yaml → .*a\.yaml"):
        compose(str(tmp_path / "a.yaml"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("seed: 1\nweighter: a: b\n", r"line 2: mapping values are not allowed"),
        ("seed: 1\nseed: 2\n", r"line 2: found duplicate key"),
        ("- a\n", "a recipe is a mapping"),
        ("a: !!python/object/apply:os.system [ls]\n", "could not determine a constructor"),
        ("extends: [a, b]\n", "extends takes one recipe"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, reason: str) -> None:
    path = write(tmp_path / "bad.yaml", text)
    with pytest.raises(MtlError, match=reason) as error:
        compose(path)
    assert "bad.yaml" in str(error.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("name: café".encode("latin-1"))
    with pytest.raises(MtlError, match="not UTF-8 at byte 9"):
        compose(str(tmp_path / "latin.yaml"))
    with pytest.raises(MtlError, match="No such file"):
        compose(str(tmp_path / "none.yaml"))
    with pytest.raises(MtlError, match="Is a directory"):
        compose(str(tmp_path) + "/")


def test_an_unknown_recipe_has_a_suggestion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MtlError, match="did you mean 'ads'"):
        compose("adss")
    write(tmp_path / "mine.yaml", "seed: 1\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MtlError, match=r"the file is mine\.yaml"):
        compose("mine")


def test_a_recipe_by_its_qualified_name() -> None:
    assert recipe_text("mtl-lightning/ads") == recipe_text("ads")


def test_a_swapped_component_loses_the_options_of_the_old_one() -> None:
    composed = compose("ads", ["encoder.width=4", "source=table", "source.path=x.csv", "architecture=shared_bottom"])
    assert composed.plain["source"] == {"name": "table", "path": "x.csv"}
    assert composed.plain["encoder"] == {"name": "embedding", "width": 4}
    assert composed.notes == ("source: dropped scenario, rows, which the recipe gave to 'simulator'",)


@pytest.mark.parametrize("pair", ["heads.click=esmm", "heads.click.name=esmm", "heads.click={name: esmm}"])
def test_a_swapped_head_does_too(tmp_path: Path, pair: str) -> None:
    path = write(tmp_path / "r.yaml", "heads: {click: {name: binary, hidden: [3]}, buy: {name: esmm, hidden: [2]}}\n")
    composed = compose(path, [pair, "heads.click.dropout=0.5"])
    assert composed.plain["heads"] == {
        "click": {"name": "esmm", "dropout": 0.5},
        "buy": {"name": "esmm", "hidden": [2]},
    }
    assert composed.notes == ("heads.click: dropped hidden, which the recipe gave to 'binary'",)


def test_options_given_beside_the_new_name_are_not_stale() -> None:
    notes: list[str] = []
    below = {"weighter": {"name": "old", "every": 2, "alpha": 1}}
    above = {"weighter": {"name": "new", "every": 4}}
    assert lay_over(below, above, notes.append)["weighter"] == {"name": "new", "every": 4}
    assert notes == ["weighter: dropped alpha, which the recipe gave to 'old'"]


def test_the_same_name_again_keeps_its_options() -> None:
    composed = compose("ads", ["source=simulator"])
    assert composed.plain["source"]["scenario"] == "ads"
    assert composed.notes == ()


def test_a_recipe_that_swaps_what_it_extends_is_silent(tmp_path: Path) -> None:
    path = write(tmp_path / "r.yaml", "extends: ads\nsource: {name: table, path: x.csv}\nsplit: random\n")
    composed = compose(path)
    assert composed.plain["source"] == {"name": "table", "path": "x.csv"}
    assert composed.plain["split"]["by"] == "random"
    assert composed.notes == ()


def test_null_removes_an_entry_and_what_belongs_to_it() -> None:
    composed = compose("ads", ["tasks.conversion=null", "features.history=null"])
    assert "conversion" not in composed.plain["tasks"]
    assert "history" not in composed.plain["features"]
    assert composed.plain["heads"] == {}
    assert composed.notes == ("heads: dropped conversion, whose task is removed",)


def test_interpolation_between_settings() -> None:
    composed = compose("ads", ["seed=7", "split.seed=${seed}", "source.seed=${split.seed}"])
    assert composed.plain["split"]["seed"] == composed.plain["source"]["seed"] == 7


@pytest.mark.parametrize("value", ["${oc.env:HOME}", "${oc.decode:1}", "x${oc.env:${a}}", "${oc.${seed}:x}"])
def test_resolvers_are_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="uses a resolver"):
        compose("ads", [f"run.dir={value}"])


def test_an_escaped_interpolation_is_text() -> None:
    composed = compose("ads", [r"run.dir=\${oc.env:HOME}"])
    assert composed.plain["run"]["dir"] == "${oc.env:HOME}"


def test_everything_unresolved_is_told_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.yaml", "source: {name: table, path: '???'}\nseed: ${nowhere}\nrun: {dir: '${oc.env:A}'}\n"
    )
    with pytest.raises(ConfigError) as error:
        compose(path)
    assert {problem.path for problem in error.value.problems} == {"source.path", "seed", "run.dir"}


@pytest.mark.parametrize("argument", ["ads", "=x", "a..b=1", ".a=1", "--x"])
def test_what_is_no_pair_is_refused(argument: str) -> None:
    with pytest.raises(MtlError, match="key"):
        read_arguments("fit", ["recipe=ads", argument], ["recipe"], settings="all")


def test_reserved_keys_are_kept_apart() -> None:
    pairs = ["recipe=ads", "weighter=famo", "resume=runs/a=b", "space.seed=[1]"]
    arguments = read_arguments("x", pairs, ["recipe"], ["resume", "space."], settings="all")
    assert arguments.own == {"recipe": "ads", "resume": "runs/a=b", "space.seed": "[1]"}
    assert arguments.settings == ("weighter=famo",)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["run="], "cmd needs run= (cmd run=…)"),
        (["run=a", "rnu=b"], "cmd: unknown argument 'rnu' (did you mean 'run'?)"),
        (["run=a", "recipe=", "x=1"], "cmd: recipe= needs a value"),
        (["run=a", "seed=3"], "cmd does not accept seed= (write seeds=)"),
        (["run=a", "many=x"], "cmd: wrong value many=x (an integer of at least 1 and at most 9)"),
        (["run=a", "many=0"], "cmd: wrong value many=0 (an integer of at least 1 and at most 9)"),
        (["run=a", "wait=nan"], "cmd: wrong value wait=nan (a number above 0)"),
        (["run=a", "mode=slow"], "cmd: wrong value mode=slow (one of fast, exact)"),
        (["run=a", "log=maybe"], "cmd: wrong value log=maybe (true or false)"),
    ],
)
def test_wrong_arguments_are_reported_with_place_and_hint(pairs: list[str], message: str) -> None:
    with pytest.raises(MtlError) as error:
        values_of(pairs)
    assert str(error.value) == message


def test_values_of_arguments_have_defaults_and_types() -> None:
    assert values_of(["run=a", "many=3", "log=False", "a.b=1"]) == (3, 0.5, "fast", False, ("a.b=1",))


def values_of(pairs: list[str]) -> tuple[Any, ...]:
    """Values of a command with every type of argument."""
    optional = ["recipe", "many", "wait", "mode", "log"]
    arguments = read_arguments("cmd", pairs, ["run"], optional, settings="dotted", refused={"seed": "write seeds="})
    numbers = arguments.number("many", 2, least=1, most=9), arguments.number("wait", 0.5, least=1e-9)
    return *numbers, arguments.choose("mode", ("fast", "exact")), arguments.switch("log"), arguments.settings
