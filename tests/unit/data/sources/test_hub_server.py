"""Data sets by their id: a server with the Hub's interface replaces it, and real processes fetch from there."""

import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

import pytest
from hub_log import RECIPE, log

TOKEN = "hf_secret"


class Repositories:
    """Data sets as the Hub serves them: ``owner/name`` -> versions, the last of which is ``main``."""

    def __init__(self):
        self.versions = {}
        self.private = set()
        self.requests = []

    def push(self, name, files, private=False):
        sha = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.versions.setdefault(name, {})[sha] = files
        if private:
            self.private.add(name)
        return sha

    def version(self, name, revision):
        known = self.versions[name]
        sha = list(known)[-1] if revision in (None, "main") else revision
        return sha, known[sha]


def entry(path, content):
    return {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, status, content=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(content), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def tell(self, value):
        self.send(200, json.dumps(value).encode(), Content_Type="application/json")

    def refuse(self, code):
        self.send(404, X_Error_Code=code, X_Error_Message=code)

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(url.path)
        hub = self.server.hub
        hub.requests.append((self.command, path))
        file = re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        about = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.*))?)?", path)
        result = file or about
        if not result:
            return self.send(404)
        name = result[1]
        if name not in hub.versions or (name in hub.private and self.headers.get("Authorization") != f"Bearer {TOKEN}"):
            return self.refuse("RepoNotFound")
        try:
            sha, files = hub.version(name, file[2] if file else about[3])
        except KeyError:
            return self.refuse("RevisionNotFound")
        if file:
            return self.content(sha, files.get(file[3]))
        if about[2] == "tree":
            return self.tree(files, (about[4] or "").rstrip("/"), "recursive=True" in url.query)
        if about[2] == "paths-info":
            wanted = urllib.parse.parse_qs(body.decode())["paths"]
            return self.tell([entry(item, files[item]) for item in wanted if item in files])
        siblings = [{"rfilename": item} for item in files]
        return self.tell({"id": name, "sha": sha, "siblings": siblings, "private": name in hub.private, "tags": []})

    def tree(self, files, under, recursive):
        prefix = f"{under}/" if under else ""
        inside = {item: content for item, content in files.items() if item.startswith(prefix)}
        if not inside:
            return self.refuse("EntryNotFound")
        folders = {
            prefix + item.removeprefix(prefix).split("/")[0] for item in inside if "/" in item.removeprefix(prefix)
        }
        direct = [entry(*item) for item in inside.items() if recursive or "/" not in item[0].removeprefix(prefix)]
        return self.tell(
            direct + [{"type": "directory", "path": folder, "oid": "0" * 40} for folder in sorted(folders)]
        )

    def content(self, sha, content):
        if content is None:
            return self.refuse("EntryNotFound")
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X_Repo_Commit": sha, "Accept_Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not wanted:
            return self.send(200, content, **headers)
        start, stop = int(wanted[1]), min(int(wanted[2] or len(content)) + 1, len(content))
        if start >= len(content):
            return self.send(416, **headers)
        span = f"bytes {start}-{stop - 1}/{len(content)}"
        return self.send(206, content[start:stop], Content_Range=span, **headers)

    do_GET = do_HEAD = do_POST = answer  # noqa: N815 - names of the library


@pytest.fixture
def hub():
    """The server, its repositories and its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hub = Repositories()
    server.hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.hub
    server.shutdown()
    thread.join()
    server.server_close()


def written(rows, kind, path):
    frame = log(rows)
    frame.to_csv(path, index=False) if kind == "csv" else frame.to_parquet(path)
    return Path(path).read_bytes()


def files(kind, tmp_path, train=240):
    sizes = {"train": train, "validation": 60, "test": 90}
    return {f"data/{name}.{kind}": written(rows, kind, tmp_path / f"made.{kind}") for name, rows in sizes.items()}


def fit(hub, tmp_path, name, run, *pairs, **environment):
    """``fit`` in a process of its own, which knows only this Hub."""
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    places = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "MTL_CACHE": str(tmp_path / "cache")}
    plain = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    arguments = ["fit", "recipe=recipe.yaml", "source=hub", f"source.id={name}", "split=given", f"run.dir={run}"]
    return subprocess.run(
        [sys.executable, "-m", "mtl_lightning", *arguments, *pairs],
        cwd=tmp_path, env=plain | places | {"HF_HUB_DISABLE_XET": "1", "NO_COLOR": "1"} | environment,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("streaming", ["false", "true"])
def test_a_set_is_fitted_by_its_id(hub, tmp_path, kind, streaming):
    hub.push("shop/log", files(kind, tmp_path))
    done = fit(hub, tmp_path, "shop/log", "run", f"source.streaming={streaming}")
    assert done.returncode == 0, done.stderr
    assert "train 240, validation 60, test 90" in done.stdout
    assert "test/click/auc" in json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]["metrics"]
    assert any("/resolve/" in path for _, path in hub.requests)
    copied = [path for path in (tmp_path / "hf").rglob("*.arrow") if path.is_file()]
    assert bool(copied) == (streaming == "false")


def test_a_new_version_is_noticed_and_an_old_one_can_be_asked_for(hub, tmp_path):
    first = hub.push("shop/log", files("csv", tmp_path))
    assert "train 240," in fit(hub, tmp_path, "shop/log", "one", "source.streaming=true").stdout
    hub.push("shop/log", files("csv", tmp_path, train=300))
    assert "train 300," in fit(hub, tmp_path, "shop/log", "two", "source.streaming=true").stdout
    old = fit(hub, tmp_path, "shop/log", "three", f"source.revision={first}")
    assert "train 240," in old.stdout, old.stderr


def test_a_private_set_needs_a_token_and_what_is_not_there_is_named(hub, tmp_path):
    hub.push("shop/secret", files("csv", tmp_path), private=True)
    refused = fit(hub, tmp_path, "shop/secret", "one")
    assert refused.returncode == 2
    assert "source.id: 'shop/secret' can't be read" in refused.stderr
    assert "HF_TOKEN" in refused.stderr
    assert "train 240," in fit(hub, tmp_path, "shop/secret", "two", HF_TOKEN=TOKEN).stdout
    missing = fit(hub, tmp_path, "shop/none", "three")
    assert missing.returncode == 2
    assert "'shop/none' can't be read" in missing.stderr
    revision = fit(hub, tmp_path, "shop/secret", "four", "source.revision=" + "0" * 40, HF_TOKEN=TOKEN)
    assert revision.returncode == 2
    assert "Traceback" not in revision.stderr
