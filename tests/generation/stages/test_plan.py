"""Costs of a job, computed from configurations, against real models and files."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fastreid_ext.diffusion.stable_diffusion import load_base
from fastreid_ext.generation.stages import plan
from fastreid_ext.generation.stages.plan import plan_of
from measuring import stable_diffusion


def test_operations_are_those_of_the_loops(settings_of, tmp_path):
    """Per row of the U-Net: sampling needs two a step, fine-tuning two passes of two rows."""
    found = plan_of(settings_of(tmp_path), 4, 2)
    base = load_base(settings_of(tmp_path))
    with (
        sdpa_kernel(SDPBackend.MATH),  # the CPU's fused attention is not counted
        FlopCounterMode(display=False) as counter,
        torch.no_grad(),
    ):
        base.unet(
            torch.zeros(1, 4, *base.latent_shape((32, 16))[1:]),
            torch.zeros(1),
            encoder_hidden_states=torch.zeros(1, 77, base.unet.config.cross_attention_dim),
        )
    assert found.unet_row == pytest.approx(counter.get_total_flops() / 1e12)
    assert found.fine_tuning == pytest.approx(2 * 2 * 2 * found.unet_row)
    assert found.image > 2 * 2 * found.unet_row
    assert found.reference_set == pytest.approx(3 * found.image)
    whole = 4 * (found.fine_tuning + 3 * found.image) + 2 * found.reference_set
    assert found.operations == pytest.approx(whole)
    table = dict(found.table(speed=whole / 3600, gpus=2))
    assert table["the job"] == "0.5 h on 2 GPUs"


def test_memory_grows_with_what_is_learned_together(settings_of, tmp_path):
    def memory(**keys):
        full = {f"FINE_TUNING.{key}": value for key, value in keys.items()}
        return plan_of(settings_of(tmp_path, **full), 4, 2).tuning_bytes

    one = memory(IDENTITIES_AT_ONCE=1)
    two = memory(IDENTITIES_AT_ONCE=2)
    three = memory(IDENTITIES_AT_ONCE=3)
    assert three - two == pytest.approx(two - one, rel=0.05)
    assert memory(IDENTITIES_AT_ONCE=3, GRADIENT_CHECKPOINTING=True) < three
    assert memory(METHOD="full") > one


def test_kept_activations_are_those_of_autograd(settings_of, tmp_path):
    """On real tensors: every storage that the backward pass of a real U-Net needs, once."""
    cfg = settings_of(tmp_path, **{"FINE_TUNING.METHOD": "full"})
    unet = load_base(cfg).unet
    found = plan._kept_bytes(unet.to("meta"), 2, (4, 2), cfg)
    real = load_base(cfg).unet.train().requires_grad_(True)
    own = {part.untyped_storage().data_ptr() for part in real.parameters()}
    kept = {}

    def keep(value):
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return value

    inputs = torch.zeros(2, 4, 4, 2), torch.zeros(2), torch.zeros(2, 77, 32)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        real(*inputs)
    assert found == pytest.approx(sum(storage.nbytes() for storage in kept.values()), rel=0.1)


def test_stable_diffusion_has_its_known_size():
    with torch.device("meta"):
        _, unet, _ = stable_diffusion._large()
    assert plan._count(unet) == 859_520_964
    row = plan._operations(unet, *plan._inputs(unet, 1, (64, 64)))
    assert row == pytest.approx(0.8, abs=0.01)  # 0.4 T multiplications at 512 x 512
