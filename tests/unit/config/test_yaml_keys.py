"""Keys that YAML takes for truth values, nulls, numbers or dates are refused, wherever they are in a recipe."""

from pathlib import Path

import pytest

from mtl_lightning.config import compose, validate
from mtl_lightning.config.layers import read_layer
from mtl_lightning.errors import ConfigError, MtlError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks:\n  on: {kind: binary}", "here, line 2: YAML reads the key on as a truth value (quote it: 'on')"),
        ("tasks: {no: binary}", "here: YAML reads the key no as a truth value (quote it: 'no')"),
        ("features:\n  yes: categorical", "here, line 2: YAML reads the key yes as a truth value (quote it: 'yes')"),
        ("features: {null: categorical}", "here: YAML reads the key null as null (quote it: 'null')"),
        ("features: {~: categorical}", "here: YAML reads the key ~ as null (quote it: '~')"),
        ("features: {? : categorical}", "here: YAML reads an empty key as null (name it)"),
        ("on: 1", "here: YAML reads the key on as a truth value (quote it: 'on')"),
        ("a: [{b: [{off: 1}]}]", "here: YAML reads the key off as a truth value (quote it: 'off')"),
        ("features: {007: categorical}", "here: YAML reads the key 007 as a number (quote it: '007')"),
        ("features: {0x1F: categorical}", "here: YAML reads the key 0x1F as a number (quote it: '0x1F')"),
        ("features: {12:30: categorical}", "here: YAML reads the key 12:30 as a number (quote it: '12:30')"),
        ("features: {1.50: categorical}", "here: YAML reads the key 1.50 as a number (quote it: '1.50')"),
    ],
)  # fmt: skip
def test_refused(text: str, message: str) -> None:
    with pytest.raises(MtlError) as caught:
        read_layer(text, "here")
    assert str(caught.value) == message


def test_quoted_keys_and_plain_integers_are_text() -> None:
    layer = read_layer("features: {'on': numeric, \"null\": numeric, 7: numeric, 2024-05-31: numeric}", "here")
    assert [str(name) for name in layer["features"]] == ["on", "null", "7", "2024-05-31"]


def test_aliases_that_go_in_circles_end() -> None:
    with pytest.raises(MtlError, match="contains itself"):
        read_layer("a: &a [1, *a]\nb: {<<: {c: 1}, no: 2}", "here")


def test_a_pair_of_the_command_line_is_a_recipe_too() -> None:
    with pytest.raises(MtlError, match="YAML reads the key on as a truth value"):
        compose("ads", ["tasks={on: {kind: binary, label: click}}"])
    assert compose("ads", ["tasks.on={kind: binary, label: click}"]).plain["tasks"]["on"]["label"] == "click"


def test_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: ads\n\ntasks:\n  on:\n    kind: binary\n    label: click\n")
    with pytest.raises(MtlError, match=r"mine\.yaml, line 4: YAML reads the key on"):
        compose(str(path))


@pytest.mark.parametrize("value", ["true", "1.5"])
def test_a_value_that_is_no_text_is_to_be_quoted(value: str) -> None:
    with pytest.raises(ConfigError, match=r"tasks\.click\.label: expects a string, not .* \(quote it\)"):
        validate(compose("ads", [f"tasks.click.label={value}"]).plain)
