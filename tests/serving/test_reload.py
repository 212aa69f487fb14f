"""A new export that can't be served, in whatever way: it is reported, and the next good one is taken."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from commands import command
from server import Server

from mtl_lightning.export.bundle import Bundle
from mtl_lightning.serve.live_export import LiveExport

pytestmark = pytest.mark.xdist_group("serving")  # one run and one export for all of them


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def rewrite(folder: Path, name: str, content: bytes) -> None:
    """Change a file, and the manifest so that it agrees."""
    (folder / name).write_bytes(content)
    listed = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    edit(folder / "manifest.json", lambda manifest: manifest["files"].update({name: listed}))


def manifest(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "manifest.json", change)


def transforms(content: bytes) -> Callable[[Path], None]:
    return lambda folder: rewrite(folder, "transforms.json", content)


def large_keys(folder: Path) -> None:
    text = (folder / "transforms.json").read_text()
    before = text
    for kind in ('"keys": [', '"keys":['):
        text = text.replace(kind, f"{kind}{2**63 + 1}, ")
    assert text != before
    rewrite(folder, "transforms.json", text.encode())


def failing_graph(folder: Path) -> None:
    """A graph that loads, and whose run fails: it gathers a row that isn't there."""
    model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
    output = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["before" if item == output else item for item in node.output]
        node.input[:] = ["before" if item == output else item for item in node.input]
    row = onnx.helper.make_tensor("row", onnx.TensorProto.INT64, [1], [1 << 40])
    model.graph.initializer.append(row)
    model.graph.node.append(onnx.helper.make_node("Gather", ["before", "row"], [output], axis=0))
    rewrite(folder, "model.onnx", model.SerializeToString())


def directory(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()


def incomplete(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()


BAD: dict[str, Callable[[Path], None]] = {
    "a shape that is a number": manifest(lambda m: m["inputs"][0].update(shape=0)),
    "a shape of texts": manifest(lambda m: m["inputs"][0].update(shape=[None, "x"])),
    "inputs that are numbers": manifest(lambda m: m.update(inputs=[5])),
    "an unknown dtype": manifest(lambda m: m["inputs"][0].update(dtype="complex")),
    "outputs that are numbers": manifest(lambda m: m.update(outputs=dict.fromkeys(m["outputs"], 3))),
    "no width": manifest(lambda m: [item.pop("width") for item in m["outputs"].values()]),
    "columns that are numbers": manifest(lambda m: m.update(columns=dict.fromkeys(m["columns"], 5))),
    "features that are unknown": manifest(lambda m: m.update(columns={column: ["none"] for column in m["columns"]})),
    "calibration of a wrong type": manifest(lambda m: m.update(calibration={"click": []})),
    "half a letter": manifest(lambda m: m.update(recipe="\ud800")),
    "plugins of a wrong type": manifest(lambda m: m.update(plugins=[1])),
    "deep transforms": transforms(b"[" * 100_000 + b"]" * 100_000),
    "deep objects": transforms(b'{"features":' * 50_000),
    "other transforms": transforms(b'{"features": {"a": 1}, "schema": []}'),
    "no JSON": transforms(b"\xff\xfe"),
    "keys above 2^63": large_keys,
    "a graph that fails its first run": failing_graph,
    "a manifest that is a folder": directory,
    "a file that is missing": incomplete,
}


class Served:
    """A service whose export is a link."""

    def __init__(self, export: Path, folder: Path) -> None:
        self.folder, self.link = folder, folder / "current"
        self.point(export)
        self.server = Server(self.link, reload_every=0.1)

    def point(self, target: Path) -> None:
        (self.folder / "new").symlink_to(target)
        (self.folder / "new").replace(self.link)

    def ready(self) -> dict[str, Any]:
        result = self.server.client.get("/ready")
        assert result.status_code == 200
        return dict(result.json())

    def metric(self, name: str) -> float:
        lines = self.server.client.get("/metrics").text.splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(name + " ")), 0.0)

    def wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, self.ready()
            time.sleep(0.05)

    def wait_for_failures(self, count: int) -> None:
        self.wait(lambda: self.metric('mtl_reloads_total{outcome="refused"}') >= count)

    def wait_for_model(self, export: Path) -> None:
        identity = Bundle.open(export).identity
        self.wait(lambda: self.ready()["model"] == identity)


@pytest.fixture
def served(export: Path, tmp_path: Path) -> Iterator[Served]:
    result = Served(export, tmp_path)
    yield result
    result.server.stop()
    assert result.server.process.returncode == 0


@pytest.fixture(scope="module")
def second(run: Path, export: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another good export of the same run."""
    out = Path(shutil.copytree(export, tmp_path_factory.mktemp("second") / "export"))
    edit(out / "manifest.json", lambda m: m.update(score=None))
    return out


def test_whatever_is_wrong_with_an_export_the_next_good_one_is_taken(
    served: Served, export: Path, second: Path, tmp_path: Path
) -> None:
    good = [second, export]
    assert served.ready()["failed"] is None
    assert served.metric("mtl_reload_failed_seconds") == 0
    for count, (name, spoil) in enumerate(BAD.items(), 1):
        bad = Path(shutil.copytree(export, tmp_path / f"bad{count}"))
        spoil(bad)
        before = served.ready()["model"]
        served.point(bad)
        served.wait_for_failures(count)
        assert served.metric('mtl_reloads_total{outcome="refused"}') == count, name
        assert served.metric("mtl_reload_failed_seconds") == pytest.approx(time.time(), abs=60)
        report = served.ready()
        assert report["model"] == before, name
        assert report["failed"]["reason"], name
        assert "Traceback" not in report["failed"]["reason"]
        served.point(good[count % 2])
        served.wait_for_model(good[count % 2])
        served.wait(lambda: served.ready()["failed"] is None)
        served.wait(lambda: served.metric("mtl_reload_failed_seconds") == 0)  # set after the export is replaced
        assert served.server.client.get("/openapi.json").status_code == 200
    said = served.server.stop()
    assert said.count("the new export is not served: ") == len(BAD)
    assert "Traceback" not in said


def test_a_folder_that_is_being_copied_is_taken_when_it_is_complete(
    served: Served, second: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(second / "manifest.json", copy)
    served.point(copy)
    served.wait_for_failures(1)
    assert "model.onnx" in served.ready()["failed"]["reason"]
    for path in sorted(second.iterdir()):
        shutil.copy(path, copy)
        time.sleep(0.02)
    served.wait_for_model(copy)
    assert served.ready()["failed"] is None


def test_a_link_that_leads_nowhere_is_reported(served: Served, export: Path, second: Path, tmp_path: Path) -> None:
    before = served.ready()["model"]
    for count, target in enumerate([tmp_path / "nowhere", served.link], 1):
        served.point(target)
        served.wait_for_failures(count)
        report = served.ready()
        assert report["model"] == before
        assert "has no manifest.json that can be read" in report["failed"]["reason"]
    served.point(second)
    served.wait_for_model(second)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_export_that_may_not_be_read_is_taken_when_it_may(served: Served, second: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(second, tmp_path / "copy"))
    (copy / "transforms.json").chmod(0)
    served.point(copy)
    served.wait_for_failures(1)
    assert "transforms.json" in served.ready()["failed"]["reason"]
    (copy / "transforms.json").chmod(0o600)
    served.wait_for_model(copy)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_export_at_the_start_is_an_error_of_one_line(
    export: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = Path(shutil.copytree(export, tmp_path / "bad"))
    BAD[name](bad)
    assert command("serve", f"export={bad}", "port=0") == 2
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    assert "serving" not in printed.out + printed.err


def test_a_good_export_that_has_not_changed_is_not_taken_again(export: Path) -> None:
    live = LiveExport(export)
    assert [live.refresh() for _ in range(3)] == [None] * 3
