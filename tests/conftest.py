"""Tests leave the network alone: whoever asks for another machine is refused and named."""

import os
import socket
import sys
import threading

import pytest

import fastreid_ext  # noqa: F401  before anything imports fastreid

from .tiny_models import (  # fixtures of several folders
    tiny_blip2_folder,
    tiny_blip_folder,
    tiny_captions,
    tiny_clip_folder,
    tiny_pipeline_folder,
)

__all__ = [
    "tiny_blip2_folder",
    "tiny_blip_folder",
    "tiny_captions",
    "tiny_clip_folder",
    "tiny_pipeline_folder",
]

_HERE = {None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0", socket.gethostname()}
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_requests: list[str] = []


def _refuse_other_machines(event, arguments):
    """Refuse this process every other machine: an audit hook, which all sockets ask."""
    if event == "socket.connect":
        host = arguments[1][0] if isinstance(arguments[1], tuple) else None
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in _HERE:
        _requests.append(host)
        raise OSError(f"expected a test without network, got {host}; give it a local file")


def _refuse_clients(listener):
    """Be the proxy of all child processes: note what they ask for, and hang up."""
    while True:
        client, _ = listener.accept()
        with client:
            client.settimeout(5)
            _requests.append(client.recv(200).partition(b"\r")[0].decode(errors="replace"))


def pytest_configure():
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_refuse_clients, args=(listener,), daemon=True).start()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    for name in _PROXIES:
        os.environ[name] = os.environ[name.upper()] = address
    os.environ["HF_UPDATE_DOWNLOAD_COUNTS"] = "0"  # by datasets, of local folders too
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "localhost,127.0.0.1"
    sys.addaudithook(_refuse_other_machines)


@pytest.fixture(autouse=True)
def network_requests():
    """Fail a test that asked for another machine; the list of its requests, to be emptied."""
    yield _requests
    seen = _requests.copy()
    _requests.clear()
    assert not seen, "tests use no network"
