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


def test_scheduler_names_contain_those_of_the_papers():
    names = scheduler_names()
    assert {"DDIMScheduler", "PNDMScheduler", "LCMScheduler", "EulerDiscreteScheduler"} <= {*names}
    # Flows, EDM's sigmas, inversion and inpainting are of other models.
    assert not [name for name in names if "Flow" in name or "EDM" in name or "Inverse" in name]


@pytest.mark.parametrize("name", ["DDIMScheduler", "LCMScheduler", "UniPCMultistepScheduler"])
def test_scheduler_keeps_the_noise_schedule_of_the_model(name):
    config = make_scheduler(name, CONFIG).config
    assert (config.beta_start, config.beta_end) == (0.00085, 0.012)
    assert config.beta_schedule == "scaled_linear"
    assert config.prediction_type == "v_prediction"


def test_scheduler_misspelt_suggests_a_name():
    message = r"'DDIMSchedular' in GENERATION.SAMPLING.SCHEDULER; did you mean 'DDIMScheduler'\?"
    with pytest.raises(ValueError, match=message):
        make_scheduler("DDIMSchedular", CONFIG)


def test_scheduler_unknown_lists_the_names():
    with pytest.raises(ValueError, match=r"known: .*DDIMScheduler, .*PNDMScheduler"):
        make_scheduler("karras", CONFIG)


def test_scheduler_of_other_models_is_refused():
    with pytest.raises(
        ValueError, match=r"unknown name 'FlowMatchEulerDiscreteScheduler' .*\(of diffusers"
    ):
        make_scheduler("FlowMatchEulerDiscreteScheduler", CONFIG)
