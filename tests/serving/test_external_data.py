"""A graph from elsewhere names no file except its own tensors' file: refused before onnxruntime, and by it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import external_data
import onnxruntime
import pytest
from external_data import PLACES, in_constant, in_initializer, in_sparse_initializer, in_sparse_value, outside

from mtl_lightning.errors import MtlError
from mtl_lightning.export.manifest import TENSORS
from mtl_lightning.export.tensors import check_onnx

LOCATIONS = ["../secret", "absolute", "other.bin", "./model.onnx.data", "*/_ORT_MEM_ADDR_/*"]


def located(location: str, folder: Path) -> Any:
    return outside(str(folder.parent / "secret") if location == "absolute" else location)


def test_tensors_of_the_own_file_are_taken(tmp_path: Path) -> None:
    model = external_data.model()
    in_initializer(model, outside(TENSORS))
    external_data.save(tmp_path / "inner", model)
    check_onnx(tmp_path / "inner", [TENSORS])
    with pytest.raises(MtlError, match="which the manifest does not list"):
        check_onnx(tmp_path / "inner", [])


@pytest.mark.parametrize("location", LOCATIONS)
@pytest.mark.parametrize("place", PLACES)
def test_a_tensor_of_another_file_wherever_it_is(tmp_path: Path, place: Callable[..., None], location: str) -> None:
    model = external_data.model()
    place(model, located(location, tmp_path / "inner"))
    external_data.save(tmp_path / "inner", model)
    with pytest.raises(MtlError, match=r"is in .*, not in|has a function|has a sparse tensor|has a graph for training"):
        check_onnx(tmp_path / "inner", [TENSORS, "other.bin"])


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        ([("location", "../secret"), ("location", TENSORS)], "two places"),
        ([("location", TENSORS), ("checksum", "0")], "unknown one: checksum"),
        ([("location", TENSORS), ("offset", "-8")], "must be numbers"),
        ([("location", TENSORS), ("offset", "+8")], "must be numbers"),
        ([("location", TENSORS), ("length", "0x8")], "must be numbers"),
        ([("location", TENSORS), ("offset", "8")], "doesn't fit"),
    ],
)
def test_a_place_that_is_none_or_two(tmp_path: Path, entries: list[tuple[str, str]], match: str) -> None:
    model, tensor = external_data.model(), outside("x")
    del tensor.external_data[:]
    for key, value in entries:
        tensor.external_data.add(key=key, value=value)
    in_initializer(model, tensor)
    external_data.save(tmp_path / "inner", model)
    with pytest.raises(MtlError, match=match):
        check_onnx(tmp_path / "inner", [TENSORS])


def test_operators_of_a_runtime_and_parts_of_another_onnx(tmp_path: Path) -> None:
    model = external_data.model()
    model.graph.node.add(op_type="EPContext", domain="com.microsoft")
    external_data.save(tmp_path / "inner", model)
    with pytest.raises(MtlError, match=r"com\.microsoft\.EPContext, which is not a standard operator"):
        check_onnx(tmp_path / "inner", [TENSORS])
    external_data.save(tmp_path / "inner", external_data.model())
    path = tmp_path / "inner" / "model.onnx"
    path.write_bytes(path.read_bytes() + b"\xfa\x3e\x01x")  # field 1007, which no version has
    with pytest.raises(MtlError, match=r"has parts that onnx .* does not know"):
        check_onnx(tmp_path / "inner", [TENSORS])


@pytest.mark.parametrize("location", ["../secret", "absolute"])
@pytest.mark.parametrize("place", [in_initializer, in_constant, in_sparse_value, in_sparse_initializer])
def test_the_oldest_onnxruntime_confines_files(tmp_path: Path, place: Callable[..., None], location: str) -> None:
    """Behind the check of this package: what it would overlook stays unread."""
    model = external_data.model()
    place(model, located(location, tmp_path / "inner"))
    external_data.save(tmp_path / "inner", model)
    with pytest.raises(Exception, match=r"outside|escapes|absolute|directory|not allowed|[Ee]xternal"):
        onnxruntime.InferenceSession(tmp_path / "inner" / "model.onnx", providers=["CPUExecutionProvider"])
