import pytest

from fastreid_ext.diffusion.schedulers import make_scheduler, scheduler_names

CONFIG = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "prediction_type": "v_prediction",
}


def test_knows_those_of_the_papers():
    names = scheduler_names()
    assert {"DDIMScheduler", "PNDMScheduler", "LCMScheduler", "EulerDiscreteScheduler"} <= {*names}
    # Flows, EDM's sigmas, inversion and inpainting are of other models.
    assert not [name for name in names if "Flow" in name or "EDM" in name or "Inverse" in name]


@pytest.mark.parametrize("name", ["DDIMScheduler", "LCMScheduler", "UniPCMultistepScheduler"])
def test_keeps_the_noise_schedule_of_the_model(name):
    config = make_scheduler(name, CONFIG).config
    assert (config.beta_start, config.beta_end) == (0.00085, 0.012)
    assert config.beta_schedule == "scaled_linear"
    assert config.prediction_type == "v_prediction"


def test_suggests_the_right_name():
    message = r"SCHEDULER is 'DDIMSchedular', no scheduler .* did you mean 'DDIMScheduler'\?"
    with pytest.raises(ValueError, match=message):
        make_scheduler("DDIMSchedular", CONFIG)


def test_lists_names_where_none_is_near():
    with pytest.raises(ValueError, match=r"known: .*DDIMScheduler, .*PNDMScheduler"):
        make_scheduler("karras", CONFIG)


def test_refuses_a_scheduler_of_other_models():
    with pytest.raises(ValueError, match="no scheduler of diffusers"):
        make_scheduler("FlowMatchEulerDiscreteScheduler", CONFIG)
