"""Assembly from the folders that users have: Stable Diffusion, image encoder, VAE, ControlNet."""

import pytest
import torch
from diffusers import ControlNetModel

from fastreid_ext.diffusion.pose_guided.assemble import assemble_generator
from fastreid_ext.diffusion.tiny.models import save_together, seeded
from fastreid_ext.diffusion.tiny.pose_guided import tiny_pose_guided


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders "base", with an image encoder as in image variations, and "encoder", "controlnet"."""
    root = tmp_path_factory.mktemp("assemble")
    tiny = tiny_pose_guided()
    tiny.save_pretrained(root / "base")
    save_together(root / "encoder", tiny.image_encoder, tiny.feature_extractor)
    with seeded(5):
        network = ControlNetModel(
            block_out_channels=(16, 32),
            down_block_types=("DownBlock2D", "DownBlock2D"),
            layers_per_block=1,
            norm_num_groups=4,
            cross_attention_dim=16,
            conditioning_embedding_out_channels=(16, 32, 96),
        )
    save_together(root / "controlnet", network)
    return root


def test_both_unets_start_from_the_base(folders):
    built = assemble_generator(str(folders / "base"))
    expected = tiny_pose_guided().unet.state_dict()
    for unet in (built.unet, built.reference_unet):
        torch.testing.assert_close(dict(unet.state_dict()), dict(expected), rtol=0, atol=0)
    assert built.unet.conv_in.weight is not built.reference_unet.conv_in.weight
    assert built.pose_guider.config.widths == (16, 32, 96)  # of a VAE with 4 pixels per latent


def test_an_encoder_of_its_own_replaces_that_of_the_base(folders):
    built = assemble_generator(str(folders / "base"), image_encoder=str(folders / "encoder"))
    assert built.image_encoder.config.projection_dim == 16


def test_random_unets_have_equal_weights_but_not_those_of_the_base(folders):
    built = assemble_generator(str(folders / "base"), has_random_unets=True)
    own = built.unet.conv_in.weight
    assert torch.equal(own, built.reference_unet.conv_in.weight)
    assert not torch.equal(own, tiny_pose_guided().unet.conv_in.weight)


def test_guiders_start_from_a_controlnet(folders):
    built = assemble_generator(str(folders / "base"), controlnet=str(folders / "controlnet"))
    network = ControlNetModel.from_pretrained(folders / "controlnet")
    weights = network.controlnet_cond_embedding.conv_in.weight
    assert torch.equal(built.pose_guider.guiders[1].conv_in.weight, weights)


def test_a_base_without_image_encoder_needs_one(folders, tiny_pipeline_folder):
    with pytest.raises(ValueError, match=r"IMAGE_ENCODER openai/clip-vit-large-patch14 for Stable"):
        assemble_generator(str(tiny_pipeline_folder))
    with pytest.raises(ValueError, match=r"expected 32 width of the image encoder.* got 16"):
        assemble_generator(str(tiny_pipeline_folder), image_encoder=str(folders / "encoder"))


def test_a_folder_of_another_kind_is_refused(folders):
    with pytest.raises(ValueError, match="got none with unet, vae, scheduler; choose another"):
        assemble_generator(str(folders / "encoder"))
