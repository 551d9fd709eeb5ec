"""The network is not used unless asked for; conftest.py refuses it to all tests."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

LOAD = """
import sys
from pathlib import Path
import numpy as np
import torch
from fastreid_ext.config import load_config
from fastreid_ext.diffusion.stable_diffusion import load_base
from fastreid_ext.generation.filters.clip import ClipFilter
from fastreid_ext.generation.captions.captioner import Captioner

pipeline, clip, captioner = sys.argv[1:]
keys = {"MODEL.DEVICE": "cpu", "GENERATION.DTYPE": "float32", "GENERATION.BASE_MODEL": pipeline}
keys |= {"GENERATION.CAPTIONS.CAPTIONER": captioner, "GENERATION.CAPTIONS.MAX_TOKENS": "5"}
cfg = load_config("", [word for pair in keys.items() for word in pair])
image = np.arange(64 * 32 * 3, dtype=np.uint8).reshape(64, 32, 3)
base = load_base(cfg)
print(base.name, base.token_ids(["a woman with red sneakers"]).tolist())
print([p.double().sum().item() for p in (*base.unet.parameters(), *base.vae.parameters())])
print(base.encode_prompts(["a man"]).sum().item())
print(ClipFilter(Path(clip), ["a person", "a street"])([image]).tolist())
print(Captioner.from_config(cfg).answers([image], ["Question: what? Answer:"]))
"""


def test_a_request_of_a_test_is_refused_and_named(network_requests):
    for name in ("192.0.2.1", "huggingface.co"):
        with pytest.raises(OSError, match=f"expected a test without network, got {name}"):
            socket.create_connection((name, 443), timeout=1)
    assert network_requests == ["192.0.2.1", "huggingface.co"]
    network_requests.clear()


def test_a_request_of_a_child_process_is_refused_and_named(network_requests):
    script = "import urllib.request; urllib.request.urlopen('https://huggingface.co')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert done.returncode == 1
    assert network_requests == ["CONNECT huggingface.co:443 HTTP/1.0"]
    network_requests.clear()


@pytest.mark.slow
def test_local_models_load_alike_with_and_without_the_network(
    tiny_pipeline_folder, tiny_clip_folder, tiny_blip2_folder, tmp_path
):
    """With HF_HUB_OFFLINE=1 and without it; what asked for the hub would fail this test."""
    common = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    common |= {"HF_HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    folders = [str(tiny_pipeline_folder), str(tiny_clip_folder), str(tiny_blip2_folder)]
    children = [
        subprocess.Popen(
            [sys.executable, "-c", LOAD, *folders],
            env=common | offline,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for offline in ({"HF_HUB_OFFLINE": "1"}, {})
    ]
    offline, errors = children[0].communicate()
    online, other_errors = children[1].communicate()
    assert [child.returncode for child in children] == [0, 0], errors + other_errors
    assert offline == online
    assert len(offline.splitlines()) == 5
