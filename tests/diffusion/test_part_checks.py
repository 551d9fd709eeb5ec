"""Checks of model parts: missing tensors and unfit parts are refused with the file's name."""

import json
import shutil

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer

from fastreid_ext.diffusion.part_checks import expect_text_tensors
from fastreid_ext.diffusion.pipeline_folder import expect_base_parts

UNET = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def copied(tiny_pipeline_folder, tmp_path):
    return shutil.copytree(tiny_pipeline_folder, tmp_path / "copied")


def rewrite(path, change):
    tensors = change(load_file(path))
    save_file({k: v.clone() for k, v in tensors.items()}, path, metadata={"format": "pt"})


def configure(path, **keys):
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def test_complete_folder_passes(tiny_pipeline_folder):
    expect_base_parts(tiny_pipeline_folder)


@pytest.mark.parametrize("prefix", ["", "text_model.", "clip.text_model.", "text_encoder."])
def test_prefixes_of_a_text_encoder_pass_if_transformers_reads_them(copied, prefix):
    """The truth: whether the weights that transformers loads are those of the file."""
    folder = copied / "text_encoder"
    before = CLIPTextModel.from_pretrained(folder).state_dict()
    rewrite(
        folder / "model.safetensors",
        lambda tensors: {prefix + k.removeprefix("text_model."): v for k, v in tensors.items()},
    )
    after = CLIPTextModel.from_pretrained(folder).state_dict()
    if all(torch.equal(before[key], after[key]) for key in before):
        expect_base_parts(copied)
    else:
        assert prefix in ("clip.text_model.", "text_encoder.")
        message = r"all tensors of CLIPTextModel in .*text_encoder/model.safetensors .*prefix"
        with pytest.raises(ValueError, match=message):
            expect_base_parts(copied)


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_missing_and_misshapen_tensors_are_named(copied, part):
    path = copied / part / UNET
    gone = sorted(load_file(path))[0]
    rewrite(path, lambda tensors: {k: v for k, v in tensors.items() if k != gone})
    with pytest.raises(ValueError, match=rf"{part}/{UNET}, got a file without 1 .* {gone};"):
        expect_base_parts(copied)
    rewrite(path, lambda tensors: tensors | {gone: torch.zeros(3, 3)})
    with pytest.raises(ValueError, match=rf"expected {gone} of shape .*{part}/{UNET} .*\[3, 3\]"):
        expect_base_parts(copied)


def test_old_names_of_a_vaes_attention_pass_as_in_diffusers(copied):
    """Stable Diffusion 1.4's files have them."""
    folder = copied / "vae"
    model = AutoencoderKL.from_config(
        json.loads((folder / "config.json").read_text()), mid_block_add_attention=True
    )
    model.save_pretrained(folder)
    new = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def old(key):
        for name, before in new.items():
            key = key.replace(f"attentions.0.{name}.", f"attentions.0.{before}.")
        return key

    rewrite(folder / UNET, lambda tensors: {old(k): v for k, v in tensors.items()})
    assert any(".proj_attn." in key for key in load_file(folder / UNET))
    read = AutoencoderKL.from_pretrained(folder).state_dict()
    assert all(torch.equal(read[k], v) for k, v in model.state_dict().items())
    expect_base_parts(copied)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"in_channels": 9}, "from 4 to 4 channels.*got 9 to 4; an inpainting model"),
        ({"time_cond_proj_dim": 8}, "guidance as an input .a distilled model.*FEW_STEP_ADAPTER"),
        ({"num_class_embeds": 5}, "num_class_embeds 5. takes a class as an input"),
        ({"class_embed_type": "timestep"}, "takes a class as an input"),
    ],
)
def test_unets_of_other_kinds_are_refused(copied, change, message):
    config = json.loads((copied / "unet" / "config.json").read_text())
    UNet2DConditionModel.from_config(config, **change).save_pretrained(copied / "unet")
    with pytest.raises(ValueError, match=message):
        expect_base_parts(copied)


def test_parts_of_different_models_are_refused(copied):
    configure(copied / "unet" / "config.json", cross_attention_dim=7)
    with pytest.raises(ValueError, match=r"the text encoder, in .*unet/config\.json, got 7"):
        expect_base_parts(copied)


@pytest.mark.parametrize("left", [(), ("vocab.json",)])
def test_tokenizer_without_its_vocabulary_is_refused(copied, left):
    folder = copied / "tokenizer"
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    (folder / "tokenizer.json").unlink()
    if left:
        (folder / "vocab.json").write_text(json.dumps(tokenizer.get_vocab()))
    else:  # the truth: transformers makes one that cannot tell words apart
        read = CLIPTokenizer.from_pretrained(folder)
        assert read("a man").input_ids == read("a hat").input_ids
    missing = "merges.txt" if left else "vocab.json"
    with pytest.raises(FileNotFoundError, match=rf"in \S+tokenizer .*got no {missing}"):
        expect_base_parts(copied)


def test_empty_or_foreign_vocabulary_is_refused(copied):
    folder = copied / "tokenizer"
    rows = json.loads((copied / "text_encoder" / "config.json").read_text())["vocab_size"]
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["one_too_many"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ValueError, match=rf"tokenizer of at most {rows} tokens.*got {rows + 1};"):
        expect_base_parts(copied)
    (folder / "tokenizer.json").unlink()
    CLIPTokenizer.from_pretrained(folder).save_pretrained(folder)
    with pytest.raises(ValueError, match=r"with a vocabulary in \S+tokenizer, got one that knows"):
        expect_base_parts(copied)


def test_clip_without_its_projection_is_refused(tiny_clip_folder, tmp_path):
    from transformers import CLIPModel, CLIPTextModelWithProjection

    folder = shutil.copytree(tiny_clip_folder, tmp_path / "clip")
    rewrite(
        folder / "model.safetensors",
        lambda tensors: {k: v for k, v in tensors.items() if "text_projection" not in k},
    )
    for kind in (CLIPModel, CLIPTextModelWithProjection):
        with pytest.raises(ValueError, match=r"clip/model.safetensors \(KEY\), .*text_projection"):
            expect_text_tensors(kind, folder, "KEY")
