"""Models by id without a network: what the cache holds, or what to do."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from fastreid_ext.hub import fetch_first, hub_folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A hub cache with one model of one commit, laid out as the hub's own client does."""
    model = tmp_path / "models--owner--model"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(commit)
    (model / "snapshots" / commit).mkdir(parents=True)
    (model / "snapshots" / commit / "config.json").write_text("{}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return model / "snapshots" / commit


def test_hub_folder_finds_the_cache_without_the_network(cache):
    assert hub_folder("owner/model", key="KEY", wanted=["*.json"]) == cache
    assert hub_folder("owner/model", key="KEY", wanted=["*"], revision=cache.name) == cache


def test_hub_folder_missing_names_the_key(cache):
    for source, revision in (("owner/other", ""), ("owner/model", "v2")):
        with pytest.raises(
            FileNotFoundError, match=rf"'{source}' \(KEY\) is neither a folder .*DO"
        ):
            hub_folder(source, key="KEY", wanted=["*"], revision=revision)
    with pytest.raises(
        FileNotFoundError, match=r"expected KEY to be a folder or a hub id, got 'a/b"
    ):
        hub_folder("a/b/c", key="KEY", wanted=["*"])


def test_fetch_first_prefers_earlier_names_and_falls_back_to_the_cache(cache, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found = fetch_first("owner/model", ["model.safetensors", "config.json"])
    assert found == (cache / "config.json", False)
    assert fetch_first("owner/model", ["model.safetensors"]) == (None, False)


class _UnknownModel(BaseHTTPRequestHandler):
    """Answers as the hub does for a model that is not there."""

    def do_GET(self):
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()

    def log_message(self, *_):
        pass


def test_hub_folder_of_an_unknown_model_or_without_network(cache, monkeypatch):
    with HTTPServer(("127.0.0.1", 0), _UnknownModel) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", address)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(FileNotFoundError, match=r"the hub has no 'o/m' at revision 'v2' for u"):
            hub_folder("o/m", key="KEY", wanted=["*"], revision="v2", download=True)
        server.shutdown()
    with pytest.raises(FileNotFoundError, match="or the connection: the hub cannot be reached"):
        hub_folder("o/m", key="KEY", wanted=["*"], download=True)
