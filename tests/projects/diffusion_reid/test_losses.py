import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from transformers import CLIPProcessor

from fastreid_ext.diffusion.tiny import models
from fastreid_ext.diffusion.tiny.captioners import build_blip
from fastreid_ext.diffusion.tiny.sizes import TEST
from projects.DiffusionReID.miniature.train_autoencoder import autoencoder_loss, edge_loss, encode
from projects.DiffusionReID.miniature.train_captioner import answer_batch
from projects.DiffusionReID.miniature.train_clip import random_squares, standardised
from projects.DiffusionReID.miniature.train_denoiser import (
    denoising_loss,
    encode_prompts,
    snr_weights,
)


@pytest.fixture
def images():
    return torch.rand(2, 3, 32, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def pipeline(tiny_pipeline_folder):
    return StableDiffusionPipeline.from_pretrained(tiny_pipeline_folder, local_files_only=True)


def test_edge_loss_by_hand():
    rebuilt = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    assert edge_loss(rebuilt, torch.zeros(1, 1, 2, 2)).item() == 1  # down 0, across 1


def test_autoencoder_loss_reaches_every_weight(images):
    with models.seeded(0):
        autoencoder = models.build_autoencoder(TEST)
    autoencoder_loss(autoencoder, images, np.random.default_rng(0)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in autoencoder.parameters())


def test_latents_are_scaled_means(images):
    with models.seeded(0):
        autoencoder = models.build_autoencoder(TEST).eval()
    pixels = ((images + 1) * 127.5).round().to(torch.uint8)
    with torch.no_grad():
        mean = autoencoder.encode(pixels / 127.5 - 1).latent_dist.mean
    torch.testing.assert_close(encode(autoencoder, pixels), mean * 0.18215)


def test_weights_of_the_steps():
    """SNR 9, 5 and 1/3: five ninths, one, one."""
    share = torch.tensor([0.9, 5 / 6, 0.25])
    torch.testing.assert_close(snr_weights(share), torch.tensor([5 / 9, 1.0, 1.0]))


def test_denoising_loss_of_the_right_noise_is_zero(pipeline):
    """A U-Net that returns the noise costs nothing; one that returns nothing costs its variance."""

    class Answer(torch.nn.Module):
        def forward(self, noisy, steps, prompts):
            share = pipeline.scheduler.alphas_cumprod[steps][:, None, None, None]
            noise = (noisy - share.sqrt() * latents) / (1 - share).sqrt()
            return type("Output", (), {"sample": noise * self.factor})

    latents = torch.randn(64, 4, 8, 4, generator=torch.Generator().manual_seed(0))
    answer = Answer()
    parts = type("Parts", (), {"unet": answer, "scheduler": pipeline.scheduler})
    for factor, expected in ((1.0, 0.0), (0.0, None)):
        answer.factor = factor
        loss = denoising_loss(parts, latents, torch.zeros(64, 77, 32), np.random.default_rng(0))
        steps = np.random.default_rng(0).integers(1000, size=64)
        mean = snr_weights(pipeline.scheduler.alphas_cumprod[torch.from_numpy(steps)]).mean()
        assert loss.item() == pytest.approx(mean.item() if expected is None else 0, abs=0.05)


def test_prompts_are_encoded_as_the_pipeline_does(pipeline):
    ours = encode_prompts(pipeline, ["a woman in red"])
    theirs, _ = pipeline.encode_prompt("a woman in red", "cpu", 1, False)
    assert torch.equal(ours, theirs)


def test_squares_are_standardised_as_the_processor_does(tiny_clip_folder):
    processor = CLIPProcessor.from_pretrained(tiny_clip_folder, local_files_only=True)
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    expected = processor.image_processor(list(images), return_tensors="pt").pixel_values
    torch.testing.assert_close(
        standardised(images / 127.5 - 1, processor), expected, atol=1e-5, rtol=0
    )


def test_squares_are_coarsened_sometimes():
    images = torch.randint(0, 256, (300, 3, 4, 8), dtype=torch.uint8)
    squares = random_squares(images, np.random.default_rng(0))
    is_coarse = (squares[..., ::2] == squares[..., 1::2]).flatten(1).all(dim=1)
    assert is_coarse.float().mean().item() == pytest.approx(0.5, abs=0.1)


def test_captioner_loss_counts_answers_only(tiny_captions):
    _, processor = build_blip(TEST, tiny_captions)
    tokenizer = processor.tokenizer
    pairs = [("", "a man"), ("Question: what? Answer:", "a red handbag")]
    ids, mask, labels = answer_batch(processor, pairs)
    assert (ids[:, 0] == tokenizer.bos_token_id).all()
    answers = [tokenizer.decode(row[row >= 0]) for row in labels]
    assert answers == ["a man [SEP]", "a red handbag [SEP]"]
    assert (labels[mask == 0] == -100).all()
