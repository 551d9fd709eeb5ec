"""Captioners of every kind, tiny and real, against transformers' own generate."""

import json
import shutil

import numpy as np
import pytest
import torch
from fastreid.config import get_cfg
from PIL import Image
from transformers import (
    AutoProcessor,
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipForQuestionAnswering,
    CLIPImageProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from fastreid_ext.config import add_fastreid_ext_config
from fastreid_ext.diffusion.tiny.captioners import build_blip, build_blip2
from fastreid_ext.diffusion.tiny.models import seeded
from fastreid_ext.diffusion.tiny.sizes import TEST
from fastreid_ext.diffusion.tiny.vocabularies import opt_tokenizer
from fastreid_ext.generation.captions.captioner import Captioner, expect_captioner

QUESTION = "Question: what is the person carrying? Answer:"
TOKENS = 6


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (40 + 9 * i, 20, 3), dtype=np.uint8) for i in range(3)]


@pytest.fixture(scope="module")
def t5_folder(tmp_path_factory, tiny_captions):
    """BLIP-2 on T5."""
    folder = tmp_path_factory.mktemp("tiny") / "t5"
    with seeded(0):
        model, processor = build_blip2(TEST, tiny_captions)
        tokenizer = processor.tokenizer
        config = model.config.to_dict()
        config["text_config"] = {
            "model_type": "t5",
            "vocab_size": len(tokenizer),
            **{"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2},
            "decoder_start_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        }
        Blip2ForConditionalGeneration(Blip2Config(**config)).save_pretrained(folder)
    Blip2Processor.save_pretrained(processor, folder)
    return folder


@pytest.fixture(scope="module")
def vqa_folder(tmp_path_factory, tiny_captions):
    """BLIP for questions."""
    folder = tmp_path_factory.mktemp("tiny") / "vqa"
    with seeded(0):
        model, processor = build_blip(TEST, tiny_captions)
        BlipForQuestionAnswering(model.config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def chat_folder(tmp_path_factory, tiny_captions):
    """LLaVA, a model that is talked to."""
    folder = tmp_path_factory.mktemp("tiny") / "chat"
    tokenizer = opt_tokenizer(tiny_captions)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    side = TEST.vision_side
    size = {"hidden_size": 32, "intermediate_size": 64}
    layers = {"num_hidden_layers": 2, "num_attention_heads": 2}
    template = (
        "{% for m in messages %}{{ m.role }}: {% for c in m.content %}"
        "{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}"
        "{% endfor %}{% endfor %} assistant:"
    )
    square = {"height": side, "width": side}
    LlavaProcessor(
        image_processor=CLIPImageProcessor(size=square, crop_size=square),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="full",
        chat_template=template,
    ).save_pretrained(folder)
    text = {"model_type": "llama", "vocab_size": len(tokenizer), "num_key_value_heads": 2}
    text |= {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 2, **size, **layers}
    vision = {"model_type": "clip_vision_model", "image_size": side, "patch_size": 8}
    with seeded(0):
        LlavaForConditionalGeneration(
            LlavaConfig(
                vision_config={**vision, **size, **layers},
                text_config=text,
                image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
                vision_feature_layer=-1,
            )
        ).save_pretrained(folder)
    return folder


def captioner_of(folder, *, beams=2, batch_size=2, dtype=torch.float32):
    return Captioner(
        folder,
        name="tiny@0",
        device="cpu",
        dtype=dtype,
        max_tokens=TOKENS,
        beams=beams,
        batch_size=batch_size,
    )


def expected(folder, model_class, images, question, *, echo):
    """Ask one image at a time; ``echo``: the model repeats so much of the question's tokens."""
    model = model_class.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    answers = []
    for image in images:
        inputs = processor(images=Image.fromarray(image), text=question, return_tensors="pt")
        length = inputs.input_ids.shape[1]
        tokens = model.generate(**inputs, max_new_tokens=TOKENS, num_beams=2, do_sample=False)
        cut = {"all": length, "but the end": length - 1, "none": 0}[echo]
        text = processor.decode(tokens[0, cut:], skip_special_tokens=True)
        # Random models speak of control characters and broken bytes too.
        text = "".join(c for c in text if c.isprintable() and c != "\N{REPLACEMENT CHARACTER}")
        answers.append(text.strip())
    return answers


def test_blip2_on_opt_without_the_echo(tiny_blip2_folder, images):
    answers = captioner_of(tiny_blip2_folder).answers(images, [QUESTION])
    truth = expected(tiny_blip2_folder, Blip2ForConditionalGeneration, images, QUESTION, echo="all")
    assert [own[0] for own in answers] == truth
    assert any(truth)


def test_blip2_on_t5_which_has_none(t5_folder, images):
    answers = captioner_of(t5_folder).answers(images, [QUESTION, ""])
    truth = expected(t5_folder, Blip2ForConditionalGeneration, images, QUESTION, echo="none")
    assert [own[0] for own in answers] == truth
    assert any(truth)


def test_blip_continues_a_text_or_captions(tiny_blip_folder, images):
    model = type(captioner_of(tiny_blip_folder)._model)
    answers = captioner_of(tiny_blip_folder).answers(images, ["a photo of", ""])
    assert [own[0] for own in answers] == expected(
        tiny_blip_folder, model, images, "a photo of", echo="but the end"
    )
    # Its processor puts the ends of the sequence around "", which is the same as no text.
    assert [own[1] for own in answers] == expected(tiny_blip_folder, model, images, "", echo="none")
    assert all(all(own) for own in answers)


def test_blip_for_questions_answers_them_alone(vqa_folder, images):
    captioner = captioner_of(vqa_folder)
    answers = [own[0] for own in captioner.answers(images, ["what is the person carrying?"])]
    assert answers == expected(
        vqa_folder, BlipForQuestionAnswering, images, "what is the person carrying?", echo="none"
    )
    with pytest.raises(ValueError, match="expected questions for tiny@0, which answers questions"):
        captioner.answers(images, [""])


def test_chat_model_is_asked_through_its_template(chat_folder, images):
    answers = captioner_of(chat_folder).answers(images, [QUESTION, ""])
    text = f"user: <image>{QUESTION} assistant:"
    truth = expected(chat_folder, LlavaForConditionalGeneration, images, text, echo="all")
    assert [own[0] for own in answers] == truth
    assert any(truth)
    assert not any("user:" in answer for own in answers for answer in own)


def test_answers_do_not_depend_on_the_batch(tiny_blip2_folder, images):
    together = captioner_of(tiny_blip2_folder, batch_size=3).answers(images, [QUESTION, ""])
    alone = [captioner_of(tiny_blip2_folder).answers([i], [QUESTION, ""])[0] for i in images]
    assert together == alone
    assert captioner_of(tiny_blip2_folder).answers([], [QUESTION]) == []


def test_captioner_is_read_from_the_configuration(tiny_blip2_folder, images):
    cfg = get_cfg()
    add_fastreid_ext_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    captions = cfg.GENERATION.CAPTIONS
    captions.CAPTIONER = str(tiny_blip2_folder)
    captions.MAX_TOKENS = TOKENS
    captions.BEAMS = 2
    cfg.GENERATION.DTYPE = "float32"
    captioner = Captioner.from_config(cfg)
    assert captioner.name == "blip2"
    assert captioner.answers(images, [QUESTION]) == captioner_of(tiny_blip2_folder).answers(
        images, [QUESTION]
    )


def test_captioner_in_bfloat16(tiny_blip2_folder, images):
    captioner = captioner_of(tiny_blip2_folder, dtype=torch.bfloat16)
    assert {p.dtype for p in captioner._model.parameters()} == {torch.bfloat16}
    assert len(captioner.answers(images, [QUESTION])) == 3


@pytest.mark.gpu
def test_answers_on_a_gpu_are_those_of_the_cpu(tiny_blip2_folder, images):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    options = {"name": "tiny", "max_tokens": TOKENS, "beams": 1, "batch_size": 2}
    cpu = Captioner(tiny_blip2_folder, device="cpu", dtype=torch.float32, **options)
    gpu = Captioner(tiny_blip2_folder, device="cuda", dtype=torch.float32, **options)
    assert gpu.answers(images, [QUESTION]) == cpu.answers(images, [QUESTION])


def test_captioner_of_another_kind_is_refused(tiny_clip_folder):
    with pytest.raises(
        ValueError, match=r"expected an image-text model .*CAPTIONER\), got a clip;"
    ):
        captioner_of(tiny_clip_folder)


def test_captioner_with_its_own_code_is_refused(tiny_blip_folder, tmp_path):
    folder = shutil.copytree(tiny_blip_folder, tmp_path / "own_code")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.MyConfig"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text("raise SystemExit('ran')")
    with pytest.raises(
        ValueError, match=r"expected an image-text model .*without code in its folder"
    ):
        captioner_of(folder)


def test_captioner_without_processor_or_weights_is_named(tiny_blip_folder, vqa_folder, tmp_path):
    folder = shutil.copytree(tiny_blip_folder, tmp_path / "bare")
    for path in folder.iterdir():
        if path.name not in ("config.json", "model.safetensors"):
            path.unlink()
    with pytest.raises(FileNotFoundError, match=r"expected a processor .* beside the model"):
        captioner_of(folder)
    wrong = shutil.copytree(vqa_folder, tmp_path / "wrong")
    config = json.loads((wrong / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] += 1
    (wrong / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"all tensors of BlipForQuestionAnswering in .*wrong"):
        captioner_of(wrong)


def test_copies_whose_image_never_reaches_the_model_are_refused(tiny_blip2_folder, tmp_path):
    old = shutil.copytree(tiny_blip2_folder, tmp_path / "processor")
    (old / "processor_config.json").write_text(
        json.dumps(
            json.loads((old / "processor_config.json").read_text()) | {"num_query_tokens": None}
        )
    )
    message = r"expected 4 image token\(s\) .*processor .*got 0: .*never see.*num_query_tokens None"
    with pytest.raises(ValueError, match=message):
        captioner_of(old)
    older = shutil.copytree(tiny_blip2_folder, tmp_path / "config")
    config = json.loads((older / "config.json").read_text())
    for key in ("image_token_index", "image_token_id"):
        config.pop(key, None)
    (older / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"got 0: .*config.json has image_token_index None"):
        captioner_of(older)


def test_captioner_without_its_vocabulary_is_refused(tiny_blip2_folder, tmp_path):
    bare = shutil.copytree(tiny_blip2_folder, tmp_path / "bare")
    (bare / "tokenizer.json").unlink()
    with pytest.raises((FileNotFoundError, ValueError), match=r"bare.*(vocabulary|processor)"):
        expect_captioner(bare)


def test_image_tokens_without_an_embedding_are_refused(tiny_blip2_folder, tmp_path):
    folder = shutil.copytree(tiny_blip2_folder, tmp_path / "short")
    model = Blip2ForConditionalGeneration.from_pretrained(tiny_blip2_folder)
    rows = model.config.image_token_index
    model.language_model.resize_token_embeddings(rows)
    model.config.text_config.vocab_size = rows
    model.save_pretrained(folder)
    with pytest.raises(ValueError, match=rf"expected tokens below {rows}, .*short .*got {rows}"):
        expect_captioner(folder)
