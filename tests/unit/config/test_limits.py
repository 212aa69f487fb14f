"""Hostile recipes: limits on size, depth and references; what is written reads back the same."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from mtl_lightning.config import compose, dump, limits, validate
from mtl_lightning.config.interpolation import resolve
from mtl_lightning.config.layers import read_layer
from mtl_lightning.config.pairs import read_overrides
from mtl_lightning.errors import ConfigError, MtlError


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


TEN = "[" * 10, "]" * 10
TEXT_BOMB = "\n".join(f'a{i}: "${{a{i + 1}}}${{a{i + 1}}}"' for i in range(40)) + "\na40: x\n"
LIST_BOMB = "\n".join(f'a{i}: ["${{a{i + 1}}}", "${{a{i + 1}}}"]' for i in range(30)) + "\na30: x\n"
ALIAS_BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 10)}]" for i in range(10)
)
MERGE_BOMB = "a: &a {x: 1}\n" + "\n".join(
    f"{chr(98 + i)}: &{chr(98 + i)} {{<<: [{', '.join(['*' + chr(97 + i)] * 10)}]}}" for i in range(10)
)
ALIASED_LEVELS = f"a: &a {TEN[0]}1{TEN[1]}\n" + "".join(
    f"{below}: &{below} {TEN[0]}*{above}{TEN[1]}\n" for above, below in ("ab", "bc", "cd", "de")
)
CHAIN = "\n".join(f"a{i}: ${{a{i + 1}}}" for i in range(5000)) + "\na5000: 1\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (TEXT_BOMB, "unfold to more than 2 million characters"),
        (LIST_BOMB, "more than 100,000 values"),
        (ALIAS_BOMB, "more than 100,000 values"),
        (MERGE_BOMB, "more than 100,000 values"),
        (CHAIN, "through too many references and levels"),
        ("seed: '" + "${" * 2000 + "a" + "}" * 2000 + "'", "more than 8 nested references"),
        ("seed: " + "[" * 100 + "]" * 100, "nested in more than 40 levels"),
        ("seed: " + "{a: " * 100 + "1" + "}" * 100, "nested in more than 40 levels"),
        (ALIASED_LEVELS, "nested in more than 40 levels"),
        ("seed: ${b}\nb: ${seed}", "refers to itself"),
        ("run: {dir: '${run}'}", "refers to itself"),
        ("a: {b: ['${a}']}", "refers to itself"),
        ("a: &a [*a]", "contains itself"),
        ("a: &a {b: *a}", "contains itself"),
        ("seed: !!int x", "'x' can't be read as int"),
        ("seed: !!float x", "'x' can't be read as float"),
        ("seed: !!bool x", "'x' can't be read as bool"),
        ("seed: !!int ''", "'' can't be read as int"),
        ("seed: " + "9" * 5000, "can't be read as int"),
        ("seed: !!binary eA==", "could not determine a constructor"),
        ("seed: !!set {a}", "could not determine a constructor"),
        ("? [1]\n: 2", "unhashable key"),
        ("~: 1", "YAML reads the key ~ as null"),
        ("x: ${a", "isn't closed"),
        ("x: ${}", "an empty reference"),
        ("x: ${...a}", "is above the root of the recipe"),
        ("x: {y: 1}\nz: a${x}", "a section or list within text"),
        ("x: '???'\ny: ${x}", "refers to 'x', which must be set"),
        ("features: {user: categorical}\ny: ${features.usr}", "did you mean 'user'"),
    ],
)
def test_a_hostile_recipe_is_refused_at_once(tmp_path: Path, text: str, reason: str) -> None:
    path = write(tmp_path / "r.yaml", text)
    start = time.process_time()
    with pytest.raises(MtlError, match=reason):
        compose(path)
    assert time.process_time() - start < 10


def test_references_keep_the_type_and_are_no_shared_values() -> None:
    plain = resolve(
        {"a": {"x": [1, "${n}"]}, "n": 2.5, "b": "${a}", "c": "${b}", "d": {"e": "${.f}", "f": "${..a.x[0]}"}}
    )
    assert plain == {"a": {"x": [1, 2.5]}, "n": 2.5, "b": {"x": [1, 2.5]}, "c": {"x": [1, 2.5]}, "d": {"e": 1, "f": 1}}
    plain["a"]["x"].append(0)
    assert plain["b"] == plain["c"] == {"x": [1, 2.5]}
    assert resolve({"a": "b", "b": 7, "c": "${${a}}", "d": "x${b}-${c}"}) == {"a": "b", "b": 7, "c": 7, "d": "x7-7"}
    assert resolve({"a": {"b": "${c}"}, "c": {"d": 1}, "e": "${a.b.d}"})["e"] == 1


@pytest.mark.parametrize(
    "value",
    [
        r"\${seed}",
        r"\\${seed}",
        "${seed}",
        r"a\${b}\\",
        r"\\\${x}",
        "???",
        r"\???",
        "${",
        "$",
        "}",
        "\\",
        "a\nb",
        "\x1b[0m",
        "\u2028",
        "007",
        "1e5",
        "yes",
        "null",
        "~",
        "",
        " x ",
        "2024-01-01",
        "12:30",
        ".inf",
        "0x1f",
        "1_000",
        "- a",
        "a: b",
        "#",
        "'\"",
        [r"\${a}"],
        {"x": "???"},
    ],
)
def test_what_is_written_reads_back_the_same(tmp_path: Path, value: Any) -> None:
    plain = {"seed": 1, "source": {"name": "table", "path": value}}
    path = write(tmp_path / "config.yaml", dump(plain))
    assert compose(path).plain == plain


def test_a_run_whose_settings_hold_escapes_is_opened_again(tmp_path: Path) -> None:
    config = validate(compose("ads", [r"run.dir=\\\${x}"]).plain)
    assert config.run.dir == r"\${x}"
    path = write(tmp_path / "config.yaml", dump(config.plain))
    again = validate(compose(path).plain)
    assert again == config and again.run.dir == r"\${x}"  # noqa: PT018 - one claim


def test_a_pipe_or_device_is_no_recipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(MtlError, match="a named pipe, not a regular file"):
        compose(str(tmp_path / "pipe.yaml"))
    for extended, reason in (("/dev/zero", "a device"), (str(tmp_path / "pipe.yaml"), "a named pipe")):
        with pytest.raises(MtlError, match=f"{reason}, not a regular file"):
            compose(write(tmp_path / "r.yaml", f"extends: {extended}\n"))


def test_a_recipe_of_more_than_two_megabytes_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "r.yaml", "# " + "x" * limits.MAX_BYTES)
    with pytest.raises(MtlError, match="is larger than 2 MB"):
        compose(path)


def test_a_long_chain_of_recipes_is_refused(tmp_path: Path) -> None:
    for number in range(40):
        write(tmp_path / f"r{number}.yaml", f"extends: r{number + 1}.yaml\n")
    with pytest.raises(MtlError, match="more than 32 recipes extend each other"):
        compose(str(tmp_path / "r0.yaml"))


@pytest.mark.parametrize("recipe", ["~nobody-of-this-name/x.yaml", "a" * 5000, "a/" * 3000, "a\0.yaml", "\0/x"])
def test_a_recipe_that_cannot_be_named_is_an_error(recipe: str) -> None:
    with pytest.raises(MtlError):
        compose(recipe)


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        (["length=[1]", "length.x=1"], "'x' is not an index of the list given before"),
        (["length=[1]", "length.1=1"], "indices: 0 to 0"),
        (["length=[]", "length.0.a=1"], "indices: none"),
        (["a[b=1"], "brackets of the key don't match"),
        (["a]=[&a [*a]]", "b=" + "[" * 90 + "]" * 90], "nested in more than 40 levels"),
        ([".".join("a" * 60) + "=1"], "nested in more than 40 levels"),
    ],
)
def test_pairs_that_contradict_each_other_are_refused(pairs: list[str], reason: str) -> None:
    with pytest.raises(MtlError, match=reason):
        read_overrides(pairs)


def test_pairs_reach_into_lists_and_mappings() -> None:
    assert read_overrides(["a=[1, {b: 2}]", "a.0=x", "a[1].c=3"]) == {"a": ["x", {"b": 2, "c": 3}]}
    assert read_overrides(["a={x: 1}", "a={y: 2}", "a.x.z=3"]) == {"a": {"x": {"z": 3}, "y": 2}}
    assert read_overrides([r"features.a\.b=numeric"]) == {"features": {"a.b": "numeric"}}


@pytest.mark.parametrize(
    "pair",
    [
        "optimizer.schedule=[1]",
        "trainer.devices={a: 1}",
        "trainer.accelerator=[cpu]",
        "trainer.precision={}",
        "trainer.strategy=[[1]]",
        "trainer.max_epochs={a: [1]}",
        "trainer.logger={}",
        "source=[1]",
        "split=[1]",
        "tasks=[1]",
        "features=[[1]]",
        "metrics.click=[[1]]",
        "seed=[1]",
        "run.slices={a: 1}",
        "data.accept={}",
        "heads.click=[x]",
        "weighter={name: [1]}",
        "split.by=[x]",
        "split.by={}",
    ],
)
def test_values_of_strange_types_are_problems(pair: str) -> None:
    with pytest.raises(ConfigError):
        validate(compose("ads", [pair]).plain)


@pytest.mark.parametrize("value", [[], {}, "~nobody-of-this-name/x.csv", "reference://x", "", "a\0b", ["a" * 5000]])
def test_a_path_that_leads_nowhere_is_a_problem_of_the_source(value: Any) -> None:
    plain = {**compose("ads").plain, "source": {"name": "table", "path": value}}
    with pytest.raises(ConfigError, match=r"source\.path: "):
        validate(plain)


def test_plain_containers_of_any_depth_are_checked() -> None:
    endless: dict[str, Any] = {}
    endless["a"] = endless
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    for value in (endless, deep):
        with pytest.raises(MtlError, match="nested in more than 40 levels"):
            validate({**compose("ads").plain, "data": value})


def test_the_largest_recipe_is_read_in_seconds() -> None:
    text = "features:\n" + "".join(f"  f{i}: {{kind: numeric, column: c{i}}}\n" for i in range(12_000))
    start = time.process_time()
    assert len(read_layer(text, "here")["features"]) == 12_000
    assert time.process_time() - start < 30
