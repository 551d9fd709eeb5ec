"""The generator as a pipeline: cached references, guidance, files, independence, mistakes."""

import dataclasses

import pytest
import torch

from fastreid_ext.diffusion.pose_guided import PoseGuidedPipeline
from fastreid_ext.diffusion.pose_guided.guided_unet import predict
from fastreid_ext.diffusion.pose_guided.pipeline import References
from fastreid_ext.diffusion.tiny.models import seeded
from fastreid_ext.diffusion.tiny.pose_guided import build_generator_unet, tiny_pose_guided
from fastreid_ext.diffusion.tiny.sizes import TEST

SCALE = {"num_inference_steps": 3, "guidance_scale": 2.0}


@pytest.fixture
def pipeline():
    """A generator whose guider is not zero."""
    built = tiny_pose_guided()
    generator = torch.Generator().manual_seed(0)
    torch.nn.init.normal_(built.pose_guider.projection.weight, std=3.0, generator=generator)
    built.set_progress_bar_config(disable=True)
    return built


def images(count=3):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 32, 16), generator=generator, dtype=torch.uint8)


def conditions(count=3):
    return torch.rand(count, 7, 32, 16, generator=torch.Generator().manual_seed(1))


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def generate(pipeline, rows=(0, 1, 2), **changes):
    references = pipeline.encode_references(images()).rows(torch.tensor(rows))
    seeds = generators(*(10 + row for row in rows))
    return pipeline(references, conditions()[list(rows)], generators=seeds, **{**SCALE, **changes})


def close(found, expected):
    """One grey level may differ, where a value lies between two."""
    return (found.int() - expected.int()).abs().max() <= 1


def test_cached_references_give_the_same_images(pipeline):
    """One pass of the reference U-Net for all images of a person, or one for each image."""
    cached = pipeline.encode_references(images(1))
    together = pipeline(
        cached.rows(torch.zeros(3, dtype=torch.long)),
        conditions(),
        generators=generators(1, 2, 3),
        **SCALE,
    )
    for row in range(3):
        alone = pipeline(
            pipeline.encode_references(images(1)),
            conditions()[row : row + 1],
            generators=generators(row + 1),
            **SCALE,
        )
        assert close(together[row : row + 1], alone)
    assert not close(together[:1], together[1:2])


def test_an_image_depends_on_its_own_row_alone(pipeline):
    whole = generate(pipeline)
    assert close(generate(pipeline, rows=(2, 0)), whole[[2, 0]])
    assert torch.equal(generate(pipeline), whole)


def test_reference_pose_and_seed_all_matter(pipeline):
    strong = {"num_inference_steps": 3, "guidance_scale": 50.0}
    black_and_white = torch.zeros_like(images(2))
    black_and_white[1] = 255
    references = pipeline.encode_references(black_and_white)
    first = references.rows(torch.tensor([0]))
    second = references.rows(torch.tensor([1]))
    base = pipeline(first, conditions()[:1], generators=generators(0), **strong)
    other_person = pipeline(second, conditions()[:1], generators=generators(0), **strong)
    other_pose = pipeline(first, conditions()[1:2], generators=generators(0), **strong)
    other_seed = pipeline(first, conditions()[:1], generators=generators(1), **strong)
    for other in (other_person, other_pose, other_seed):
        assert not close(other, base)


def test_guidance_is_the_formula_of_both_halves(pipeline):
    """One step by hand: without context and reference, with both, and their weighted difference."""
    references = pipeline.encode_references(images(1))
    noise = torch.randn(4, 8, 4, generator=generators(0)[0])[None]
    pipeline.scheduler.set_timesteps(1)
    step = pipeline.scheduler.timesteps[0]
    with torch.no_grad():
        guidance = pipeline.pose_guider(conditions()[:1])
        context = references.context
        plain = predict(pipeline.unet, noise, step, torch.zeros_like(context), guidance)
        full = predict(pipeline.unet, noise, step, context, guidance, references.features)
    predicted = plain + 2.0 * (full - plain)
    latents = pipeline.scheduler.step(predicted, step, noise, return_dict=False)[0]
    found = pipeline(
        references,
        conditions()[:1],
        generators=generators(0),
        num_inference_steps=1,
        guidance_scale=2.0,
    )
    assert close(found, pipeline.decode(latents))


def test_a_scale_of_one_is_the_reference_alone(pipeline):
    assert not close(generate(pipeline, guidance_scale=1), generate(pipeline))


def test_saved_generators_give_equal_images(pipeline, tmp_path):
    expected = generate(pipeline)
    pipeline.save_pretrained(tmp_path / "generator")
    assert not list((tmp_path / "generator").rglob("*.bin"))
    again = PoseGuidedPipeline.from_pretrained(tmp_path / "generator")
    again.set_progress_bar_config(disable=True)
    assert torch.equal(generate(again), expected)


def test_a_second_pipeline_does_not_disturb_the_first(pipeline):
    references = pipeline.encode_references(images())
    expected = pipeline(references, conditions(), generators=generators(1, 2, 3), **SCALE)
    other = PoseGuidedPipeline(**pipeline.components)  # shares every part
    other.set_progress_bar_config(disable=True)
    generate(other, guidance_scale=5.0)
    found = pipeline(references, conditions(), generators=generators(1, 2, 3), **SCALE)
    assert torch.equal(found, expected)


def test_a_pipeline_that_samples_within_another_s_steps_does_not_disturb_it(pipeline):
    """Shared parts, the scheduler too: with another number of steps in between."""
    references = pipeline.encode_references(images(1))
    expected = pipeline(references, conditions(1), generators=generators(1), **SCALE)
    other = PoseGuidedPipeline(**pipeline.components)
    other.set_progress_bar_config(disable=True)
    interruptions = []

    def interrupt(module, inputs, output):
        if len(inputs[0]) == 2 and not interruptions:  # both halves: the first pipeline's step
            interruptions.append(True)
            alone = {"num_inference_steps": 7, "guidance_scale": 1.0}
            other(references, conditions(1), generators=generators(9), **alone)

    with pipeline.unet.register_forward_hook(interrupt):
        found = pipeline(references, conditions(1), generators=generators(1), **SCALE)
    assert interruptions
    assert torch.equal(found, expected)


def test_embeddings_are_those_of_transformers(pipeline):
    """Up to how the image is made a square: torch's bicubic filter against Pillow's."""
    inputs = pipeline.feature_extractor(
        images=list(images().permute(0, 2, 3, 1).numpy()), do_center_crop=False, return_tensors="pt"
    )
    with torch.no_grad():
        expected = pipeline.image_encoder(**inputs).image_embeds
    found = pipeline.embed(images())[:, 0]
    assert torch.nn.functional.cosine_similarity(found, expected).min() > 0.999


def test_wrong_numbers_are_refused(pipeline):
    references = pipeline.encode_references(images())
    with pytest.raises(ValueError, match="for each image, got 3, 2 and 2; select references"):
        pipeline(references, conditions()[:2], generators=generators(0, 1))
    with pytest.raises(ValueError, match=r"multiples of 4 \(the size of the conditions\)"):
        pipeline(references, torch.rand(3, 7, 30, 16), generators=generators(0, 1, 2))
    with pytest.raises(ValueError, match=r"expected images \(B, 3, H, W\) uint8"):
        pipeline.encode_references(images().float())
    assert isinstance(references, References)


def test_parts_of_different_models_are_refused(pipeline):
    parts = pipeline.components
    other = tiny_pose_guided().pose_guider
    other.register_to_config(out_channels=8)
    with pytest.raises(ValueError, match=r"16 output channels of the pose guider.* got 8"):
        PoseGuidedPipeline(**{**parts, "pose_guider": other})


def test_unets_of_different_models_are_refused(pipeline):
    message = r"expected a reference U-Net with the transformer blocks of the denoising.*make both"
    for changes in ({"unet_channels": (16, 64)}, {"unet_channels": (16, 32, 32)}):
        other = tiny_pose_guided(dataclasses.replace(TEST, **changes))
        with pytest.raises(ValueError, match=message):
            PoseGuidedPipeline(**{**pipeline.components, "reference_unet": other.reference_unet})
    with seeded(0):
        other_context = build_generator_unet(TEST, latent_channels=4, context_width=24)
    with pytest.raises(ValueError, match=message):
        PoseGuidedPipeline(**{**pipeline.components, "reference_unet": other_context})


def test_a_folder_without_a_generator_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model_index\.json there; train one with"):
        PoseGuidedPipeline.from_pretrained(tmp_path)
