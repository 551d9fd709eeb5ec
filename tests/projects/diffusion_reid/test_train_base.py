"""The command line, without starting it."""

import argparse
import json

import cv2
import numpy as np
import pytest

from projects.DiffusionReID.miniature.train_base import main


@pytest.fixture
def arguments(tmp_path):
    folder = tmp_path / "data" / "RenderedMall"
    (folder / "bounding_box_train").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for number in range(12):
        file = f"bounding_box_train/{number}.jpg"
        cv2.imwrite(str(folder / file), rng.integers(0, 256, (128, 64, 3), dtype=np.uint8))
        text = f"a man with no hair wearing a red coat and {'grey black'.split()[number % 2]} shoes"
        rows.append(json.dumps({"file": file, "caption": f"{text}, walking, side view"}))
    (folder / "annotations.jsonl").write_text("\n".join(rows))
    return argparse.Namespace(
        data=[tmp_path / "data"],
        domains=["RenderedMall"],
        output=tmp_path / "base",
        size="test",
        device="cpu",
        seed=0,
        stages=["autoencoder", "clip"],
        steps=["autoencoder=3", "clip=3"],
        limit=None,
    )


def test_says_what_it_did(arguments, capsys):
    main(arguments)
    assert "base: trained autoencoder, clip in " in capsys.readouterr().out
    main(arguments)
    assert "base: trained nothing in " in capsys.readouterr().out


def test_reports_when_all_is_there(arguments, capsys):
    arguments.stages = ["autoencoder", "clip", "denoiser", "captioner"]
    arguments.steps += ["denoiser=3", "captioner=3"]
    main(arguments)
    assert "; rebuilt_error " in capsys.readouterr().out
    assert (arguments.output / "pictures" / "samples.png").is_file()


def test_wrong_number_of_steps(arguments):
    arguments.steps = ["clip=many"]
    with pytest.raises(ValueError, match=r"expected STAGE=STEPS .* got clip=0"):
        main(arguments)
