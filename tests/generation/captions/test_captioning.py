"""The captioning stage on real files and a tiny real captioner."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from fastreid.config import get_cfg
from PIL import Image
from transformers import CLIPTokenizer

from fastreid_ext.config import add_fastreid_ext_config
from fastreid_ext.generation.captions.captioning import (
    assemble_captions,
    captioned,
    has_answers,
    open_captioning,
)
from fastreid_ext.generation.captions.captions_file import (
    Answers,
    answers_file,
    captions_file,
    read_answers,
    write_answers,
)
from fastreid_ext.generation.captions.prompts import check_length, prompts_of
from fastreid_ext.generation.identities.identity_list import find_identities

TOOLS = Path(__file__).resolve().parents[3] / "tools"


@pytest.fixture
def folder(tmp_path):
    """Three identities with three images each."""
    for pid in (1, 2, 3):
        for frame in (1, 2, 3):
            path = tmp_path / f"mine/bounding_box_train/{pid:04d}_c1s1_{frame:06d}_00.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng(10 * pid + frame)
            Image.fromarray(rng.integers(0, 256, (72, 24, 3), dtype=np.uint8)).save(path)
    return tmp_path / "mine"


@pytest.fixture
def settings(folder, tmp_path, tiny_blip_folder, tiny_clip_folder, tiny_pipeline_folder):
    return {
        "MODEL.DEVICE": "cpu",
        "DATASETS.NAMES": ("PersonFolder",),
        "DATASETS.FOLDER": str(folder),
        "OUTPUT_DIR": str(tmp_path / "out"),
        "GENERATION.DTYPE": "float32",
        "GENERATION.BASE_MODEL": str(tiny_pipeline_folder),
        "GENERATION.CAPTIONS.CAPTIONER": str(tiny_blip_folder),
        "GENERATION.CAPTIONS.TEXT_MODEL": str(tiny_clip_folder),
        "GENERATION.CAPTIONS.QUESTIONS": ["a person carrying", ""],
        "GENERATION.CAPTIONS.MAX_TOKENS": 5,
        "GENERATION.CAPTIONS.BEAMS": 1,
        "GENERATION.CAPTIONS.MAX_IMAGES": 2,
        "GENERATION.FILTER.USE": [],
    }


@pytest.fixture
def cfg(settings):
    cfg = get_cfg()
    add_fastreid_ext_config(cfg)
    cfg.merge_from_list([part for pair in settings.items() for part in pair])
    return cfg


def test_images_are_spread_over_the_references(cfg):
    identity = find_identities(cfg)[0]
    assert [image.frame for image in captioned(identity, 2).images] == [1, 3]
    assert [image.frame for image in captioned(identity, 1).images] == [1]
    assert captioned(identity, 0) == captioned(identity, 3) == identity


def test_answers_are_written_together_and_a_lost_image_fails_its_identity_alone(
    cfg, folder, tmp_path
):
    people = find_identities(cfg)
    output = tmp_path / "out"
    (folder / people[1].images[0].path).write_bytes(b"gone")
    work = open_captioning(cfg, people, output)
    failed = work([identity.name for identity in people])
    assert list(failed) == ["PersonFolder_0002"]
    assert "0002_c1s1_000001_00.jpg" in failed["PersonFolder_0002"]
    assert [has_answers(output, p.name) for p in people] == [True, False, True]
    third = read_answers(output, "PersonFolder_0003")
    assert third.captioner == "blip"
    assert third.questions == ("a person carrying", "")
    assert third.images == tuple(people[2].images[place].path for place in (0, 2))
    # The same alone as in the group.
    path = answers_file(output, "PersonFolder_0003")
    before = path.read_bytes()
    path.unlink()
    assert work(["PersonFolder_0003"]) == {}
    assert path.read_bytes() == before


def test_damaged_answers_are_an_error(tmp_path):
    answers_file(tmp_path, "A").parent.mkdir()
    answers_file(tmp_path, "A").write_text("{")
    with pytest.raises(ValueError, match=r"A\.json: not JSON"):
        has_answers(tmp_path, "A")


def test_captions_are_cut_to_fit_and_empty_and_foreign_ones_are_said(
    cfg, tmp_path, tiny_pipeline_folder, caplog
):
    tokenizer = CLIPTokenizer.from_pretrained(tiny_pipeline_folder, subfolder="tokenizer")
    cfg.GENERATION.CAPTIONS.AGGREGATION = "vote"
    long = ", ".join(f"{colour} coat" for colour in ("red", "blue", "white", "navy", "green"))
    long += ", " + " ".join(["walking"] * 80)
    texts = {"A_0001": long, "A_0002": "nothing", "A_0003": "red coat"}
    for name, text in texts.items():
        write_answers(
            tmp_path,
            Answers(
                identity=name,
                captioner="",
                questions=("",),
                images=("a.jpg",),
                answers=((text,),),
            ),
        )
    captions_file(tmp_path).write_text('{"name": "B_0001", "caption": "x"}\n')
    with caplog.at_level("INFO"):
        rows = assemble_captions(tmp_path, list(texts), cfg, features=None, tokenizer=tokenizer)
    assert rows["A_0001"].caption == long.rpartition(", ")[0]
    assert not rows["A_0001"].edited
    check_length(tokenizer, prompts_of(rows["A_0001"], cfg).identity)
    assert rows["A_0003"].caption == "red coat"
    assert "A_0001: caption shortened to 'red coat, blue" in caplog.text
    assert "1 of 4 captions are empty, e.g. that of A_0002; write them into" in caplog.text
    assert "1 rows of" in caplog.text
    assert "are of no identity of this job, e.g. B_0001" in caplog.text


def run(command, settings, monkeypatch, capsys):
    words = [str(part) for pair in settings.items() for part in pair]
    monkeypatch.setattr(sys, "argv", ["generate_persons.py", command, *words])
    runpy.run_path(str(TOOLS / "generate_persons.py"), run_name="__main__")
    return capsys.readouterr().out


def test_tools_list_and_caption_resume_and_keep_corrections(
    settings, tmp_path, monkeypatch, capsys
):
    out = run("list", settings, monkeypatch, capsys)
    assert out.startswith("3 identities with 9 reference images; 0 left out, 0 images unusable: ")
    out = run("caption", settings, monkeypatch, capsys)
    assert out.startswith("3 identities captioned, 0 were, 0 failed; 3 captions (0 corrected")
    path = captions_file(tmp_path / "out")
    others = path.read_text().splitlines()[1:]
    path.write_text("\n".join([*others, '{"name": "PersonFolder_0001", "caption": "red coat"}']))
    corrected = path.read_bytes()
    out = run("caption", settings, monkeypatch, capsys)
    assert out.startswith("0 identities captioned, 3 were, 0 failed; 3 captions (1 corrected")
    assert path.read_bytes() == corrected
    # The job has begun: its list is shown, whatever the rules are now.
    settings["GENERATION.IDENTITIES.MIN_IMAGES"] = 4
    out = run("list", settings, monkeypatch, capsys)
    assert out.startswith("3 identities with 9 reference images")


def test_tool_without_usable_identities_says_so(settings, tmp_path, monkeypatch, capsys):
    settings["GENERATION.IDENTITIES.MIN_IMAGES"] = 4
    with pytest.raises(SystemExit) as stopped:
        run("list", settings, monkeypatch, capsys)
    assert stopped.value.code == 1
    shown = capsys.readouterr()
    assert "error: none of 3 identities can be used, most often: 3 usable images" in shown.err
    assert (tmp_path / "out" / "identities.jsonl").is_file()
