"""Data sets in the hub's form, and tables on any file system that fsspec knows."""

import http.server
import json
import threading
import zipfile
from functools import partial

import fsspec
import pytest
from hub_log import RECIPE, log

from mtl_lightning.cli.app import main
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.sources.hub import Hub
from mtl_lightning.data.sources.table import Table
from mtl_lightning.errors import DataError


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=["csv", "jsonl", "parquet"])
def directory(request, tmp_path):
    """A data set in the hub's form with three splits."""
    path = tmp_path / "set" / "data"
    path.mkdir(parents=True)
    for split, rows in (("train", 240), ("validation", 60), ("test", 90)):
        frame = log(rows)
        if request.param == "csv":
            frame.to_csv(path / f"{split}.csv", index=False)
        elif request.param == "jsonl":
            frame.to_json(path / f"{split}.jsonl", orient="records", lines=True)
        else:
            frame.to_parquet(path / f"{split}-00000-of-00001.parquet")
    return path.parent


@pytest.mark.parametrize("streaming", [False, True])
def test_a_directory_in_the_hubs_form_is_fitted(directory, tmp_path, streaming, capsys):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    pairs = ["source=hub", f"source.id={directory}", f"source.streaming={str(streaming).lower()}", "split=given"]
    with pytest.raises(SystemExit) as end:
        main(["fit", "recipe=recipe.yaml", *pairs, "run.dir=run"])
    assert not end.value.code, capsys.readouterr().err
    assert "train 240, validation 60, test 90" in capsys.readouterr().out
    assert "test/click/auc" in json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]["metrics"]


def test_streamed_rows_are_those_of_the_copy(directory, tmp_path):
    prepared = []
    for streaming in (False, True):
        source = Hub(id=str(directory), streaming=streaming)
        data = DataModule(
            source, features={"user": "categorical", "price": "numeric"}, tasks={"click": "binary"},
            split={"by": "time", "column": "price"}, cache_dir=tmp_path / str(streaming),
        )  # fmt: skip
        prepared.append(data.prepare())
    single, other = prepared
    assert single.schema == other.schema
    assert {name: len(store) for name, store in single.stores.items()}["train"] > 200
    for name in ("ids", "dense", "labels"):
        assert single.stores["train"].parts[name].equal(other.stores["train"].parts[name])


def test_configurations_splits_files_and_a_changed_file(tmp_path):
    for name in ("small", "large"):
        (tmp_path / "set" / name).mkdir(parents=True)
        log(10 if name == "small" else 30).to_csv(tmp_path / "set" / name / "train.csv", index=False)
    (tmp_path / "set" / "README.md").write_text(
        "---\nconfigs:\n"
        "- config_name: small\n  data_files: small/*.csv\n"
        "- config_name: large\n  data_files: large/*.csv\n---\n"
    )
    path = str(tmp_path / "set")
    assert len(Hub(id=path, config="small").rows()) == 10
    assert len(list(Hub(id=path, config="large", streaming=True).rows("train"))) == 30
    assert len(Hub(id=path, files={"test": "large/train.csv"}).rows("test")) == 30
    before = Hub(id=path, config="small").fingerprint()
    assert before != Hub(id=path, config="large").fingerprint()
    log(12).to_csv(tmp_path / "set" / "small" / "train.csv", index=False)
    after = Hub(id=path, config="small")
    assert after.fingerprint() != before
    assert len(after.rows()) == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"id": "set/missing"}, "can't be read"),
        ({"config": "medium"}, "'medium' not found"),
        ({"splits": ["tain"]}, "no split 'tain' .did you mean 'train'"),
        ({"files": "*.parquet"}, "No .*data files"),
    ],
)
def test_what_is_not_there_is_named(tmp_path, monkeypatch, options, message):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "set").mkdir()
    log(10).to_csv(tmp_path / "set" / "train.csv", index=False)
    with pytest.raises(DataError, match=message):
        Hub(**{"id": str(tmp_path / "set"), **options}).schema()


def test_a_broken_file_is_an_error(tmp_path):
    (tmp_path / "set").mkdir()
    log(10).to_parquet(tmp_path / "set" / "train.parquet")
    content = (tmp_path / "set" / "train.parquet").read_bytes()
    (tmp_path / "set" / "train.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="set' can't be read"):
        Hub(id=str(tmp_path / "set")).schema()


@pytest.fixture
def server(tmp_path):
    """A web server for the files of a directory."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    (tmp_path / "www").mkdir()
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "www")))
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    yield tmp_path / "www", f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    thread.join()
    served.server_close()


def fitted(path, tmp_path, **options):
    data = DataModule(
        Table(path=path, **options),
        features={"user": "categorical"},
        tasks={"click": "binary"},
        cache_dir=tmp_path / "prepared",
    )
    return sum(data.prepare().summary["rows"].values())


def test_a_file_that_changes_on_the_web_is_read_again(tmp_path, server):
    directory, url = server
    for rows in (50, 70):
        log(rows).to_csv(directory / "log.csv", index=False)
        assert fitted(f"{url}/log.csv", tmp_path) == rows


@pytest.mark.parametrize("name", ["log.csv", "log.parquet", "log.jsonl", "log.csv.gz"])
def test_tables_in_memory_and_on_the_web(tmp_path, server, name):
    directory, url = server
    frame = log(50)
    local = directory / name
    if name.endswith("parquet"):
        frame.to_parquet(local)
    elif "csv" in name:
        frame.to_csv(local, index=False)
    else:
        frame.to_json(local, orient="records", lines=True)
    with fsspec.open(f"memory://logs/{name}", "wb") as file:
        file.write(local.read_bytes())
    assert fitted(f"memory://logs/{name}", tmp_path) == 50
    assert fitted(f"{url}/{name}", tmp_path) == 50
    with pytest.raises(DataError, match=f"no file '?{url}/other.csv"):
        Table(path=f"{url}/other.csv").schema()


def test_tables_in_an_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "logs.zip", "w") as archive:
        for day in range(3):
            archive.writestr(f"logs/{day}.csv", log(20, 20 * day).to_csv(index=False))
    assert fitted(f"zip://logs/*.csv::{tmp_path / 'logs.zip'}", tmp_path) == 60
    assert fitted(f"zip://logs/1.csv::file://{tmp_path / 'logs.zip'}", tmp_path) == 20
    with pytest.raises(DataError, match="no file"):
        fitted(f"zip://logs/7.csv::{tmp_path / 'logs.zip'}", tmp_path)
