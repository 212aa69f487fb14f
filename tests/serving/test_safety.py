"""Exports and checkpoints from elsewhere are read without running code, and refused when they are not what they say."""

import ast
import hashlib
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
import yaml
from commands import command

import mtl_lightning
from mtl_lightning.config.yaml_text import Loader
from mtl_lightning.errors import ConfigError, MtlError
from mtl_lightning.export.bundle import Bundle
from mtl_lightning.export.tensors import load_weights
from mtl_lightning.runs.checkpoint import AtomicCheckpointIO

pytestmark = pytest.mark.xdist_group("serving")  # one run and one export for all of them


class Payload:
    """Runs when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.witness),)


@pytest.fixture
def copy(export: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(export, tmp_path / "copy"))


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def sign(folder: Path, name: str) -> None:
    """Make the manifest agree with a changed file, as an attacker would."""
    content = (folder / name).read_bytes()
    edit(
        folder,
        lambda m: m["files"].update({name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}}),
    )


def refused(folder: Path, match: str) -> None:
    with pytest.raises(MtlError, match=match):
        Bundle.open(folder)


def test_the_copy_itself_is_taken(copy: Path) -> None:
    Bundle.open(copy)


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_pickled_payload_in_a_checkpoint_does_not_run(run: Path, tmp_path: Path, wrapped: bool) -> None:
    witness, broken = tmp_path / "ran", tmp_path / "run"
    shutil.copytree(run, broken)
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint["callbacks"] = {"harmless": Payload(witness)}
    path = broken / "checkpoints" / "best.ckpt"
    if wrapped:
        torch.save(checkpoint, path)
    else:
        path.write_bytes(pickle.dumps(checkpoint["callbacks"]))
    with pytest.raises(MtlError, match="damaged or not a checkpoint"):
        AtomicCheckpointIO().load_checkpoint(path)
    assert command("export", f"run={broken}", f"out={tmp_path / 'out'}") == 2
    assert not witness.exists()


def test_a_checkpoint_that_unpacks_to_more_than_it_is(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    torch.save({"state_dict": {"w": torch.zeros(1000)}}, path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "bomb.ckpt", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, bytes(50_000_000) if name.endswith("data/0") else old.read(name))
    assert (tmp_path / "bomb.ckpt").stat().st_size < 100_000
    with pytest.raises(MtlError, match="more than its file holds"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "bomb.ckpt")


def test_a_tensor_that_is_larger_than_its_storage(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    torch.save({"state_dict": {"table": torch.zeros(1).expand(10**12)}}, path)
    assert path.stat().st_size < 10_000
    with pytest.raises(MtlError, match=r"state_dict\.table.* is larger than what is stored of it"):
        AtomicCheckpointIO().load_checkpoint(path)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..", "", "manifest.json", "a\\b", "x\0y"])
def test_a_path_that_leads_out_of_the_folder(copy: Path, name: str) -> None:
    (copy.parent / "secret").write_bytes(b"x")
    digest = hashlib.sha256(b"x").hexdigest()
    edit(copy, lambda m: m["files"].update({name: {"bytes": 1, "sha256": digest}}))
    refused(copy, "only names of files in the same folder")


def test_a_link_that_leads_out_of_the_folder(copy: Path) -> None:
    (copy / "transforms.json").rename(copy.parent / "elsewhere.json")
    (copy / "transforms.json").symlink_to(copy.parent / "elsewhere.json")
    refused(copy, "is not a file")


def test_tensors_of_another_file(copy: Path) -> None:
    (copy.parent / "secret").write_bytes(bytes(1 << 20))
    model = onnx.load(str(copy / "model.onnx"), load_external_data=False)
    tensor = next(item for item in model.graph.initializer if item.external_data)
    next(entry for entry in tensor.external_data if entry.key == "location").value = "../secret"
    (copy / "model.onnx").write_bytes(model.SerializeToString())
    sign(copy, "model.onnx")
    refused(copy, r"is in '\.\./secret'")


@pytest.mark.parametrize("change", ["dims", "length", "offset"])
def test_an_oversized_table(copy: Path, change: str) -> None:
    model = onnx.load(str(copy / "model.onnx"), load_external_data=False)
    tensor = next(item for item in model.graph.initializer if item.external_data)
    place = {entry.key: entry for entry in tensor.external_data}
    if change == "dims":
        tensor.dims[0] = 1 << 40
    elif change == "length":
        place["length"].value = str(1 << 50)
    else:
        place["offset"].value = str((copy / "model.onnx.data").stat().st_size)
    (copy / "model.onnx").write_bytes(model.SerializeToString())
    sign(copy, "model.onnx")
    refused(copy, "doesn't fit")


def test_weights_larger_than_their_file(copy: Path) -> None:
    raw = (copy / "weights.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    first = next(name for name in header if name != "__metadata__")
    header[first]["shape"] = [1 << 40, *header[first]["shape"][1:]]
    text = json.dumps(header).encode()
    (copy / "weights.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])
    with pytest.raises(MtlError, match="damaged or holds no weights"):
        load_weights(copy)


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "transforms.json", "weights.safetensors"])
def test_a_file_with_another_hash(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    refused(copy, "SHA-256 differs")


def test_two_swapped_hashes(copy: Path) -> None:
    def swap(manifest: dict[str, Any]) -> None:
        files = manifest["files"]
        first, second = files["model.onnx"], files["model.pt2"]
        first["sha256"], second["sha256"] = second["sha256"], first["sha256"]

    edit(copy, swap)
    refused(copy, "SHA-256 differs")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda m: m.update(format=99), "not a manifest of format"),
        (lambda m: m.update(extra=1), "missing or unknown: extra"),
        (lambda m: m.pop("schema"), "missing or unknown: schema"),
        (lambda m: m.update(files=[]), "files is a list"),
        (lambda m: m["files"].pop("model.pt2"), r"does not list model\.pt2"),
        (lambda m: m["files"].update({"model.onnx": {"bytes": 1, "sha256": "0"}}), "bytes, not 1"),
        (lambda m: m["files"].update({"model.onnx": 1}), r"files\.model\.onnx is 1, not a mapping"),
        (lambda m: m["files"].update({"none.bin": {"bytes": 1, "sha256": "0"}}), "is not a file"),
        (lambda m: m.update(score="__import__('os').system('x')"), "is not allowed"),
        (lambda m: m.update(score="p_click ^ q"), "no prediction 'q'"),
        (lambda m: m["inputs"].pop(), "other inputs or outputs"),
        (lambda m: m["schema"]["fields"].pop(), "the transforms make other inputs"),
        (lambda m: m["schema"].update(fields=[{"nome": 1}]), r"schema\.fields\[0\] has no 'kind'"),
    ],
)
def test_a_manifest_that_lies(copy: Path, change: Callable[[dict[str, Any]], None], match: str) -> None:
    edit(copy, change)
    refused(copy, match)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_a_manifest_that_is_none(copy: Path, content: bytes) -> None:
    (copy / "manifest.json").write_bytes(content)
    refused(copy, "manifest")


def test_transforms_that_are_none(copy: Path) -> None:
    for content in (b"[]", b"{}", b'{"features": {"a": {"kind": "os.system"}}, "tasks": []}', b'{"features": 3}'):
        (copy / "transforms.json").write_bytes(content)
        sign(copy, "transforms.json")
        with pytest.raises(MtlError):
            Bundle.open(copy)


def test_a_recipe_can_not_name_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mtl_lightning.config import compose, validate

    witness = tmp_path / "ran"
    for pair in (
        f"architecture._target_=os.mkdir({witness})",
        "encoder=os:system",
        "heads.click=mtl_lightning.heads.binary:BinaryHead",
        "source=subprocess.Popen",
        f"tasks.click.label=__import__('os').mkdir('{witness}')",
        "trainer.callbacks=[os.system]",
        "trainer.strategy=os.system",
    ):
        with pytest.raises((ConfigError, MtlError)):
            validate(compose("ads", [pair]).plain)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"extends: ads\nseed: !!python/object/apply:os.mkdir ['{witness}']\n")
    with pytest.raises(MtlError):
        compose(str(recipe))
    assert not witness.exists()


def test_the_package_has_no_way_to_run_what_it_reads() -> None:
    root = Path(mtl_lightning.__file__).parent
    result = []
    for path in root.rglob("*.py"):
        if path.parent.name == "testing":  # the contract kit pickles what it has made itself
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            unsafe = {word.arg for word in node.keywords if word.arg and ast.unparse(word.value) == "False"}
            if name in ("eval", "exec", "__import__", "pickle.load", "pickle.loads", "yaml.load", "yaml.unsafe_load"):
                result.append(f"{path.name}: {name}")
            if name == "torch.load" and "weights_only" in unsafe:
                result.append(f"{path.name}: {name}")
    assert result == []


def test_yaml_of_recipes_constructs_plain_values_only() -> None:
    plain = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map")}
    assert set(Loader.yaml_constructors) - {None} <= plain
    assert Loader.yaml_multi_constructors == {}
    assert Loader.yaml_constructors[None] is yaml.SafeLoader.yaml_constructors[None]  # refuses every other tag
