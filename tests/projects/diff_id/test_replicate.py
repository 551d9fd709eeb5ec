"""The miniature from rendered sets to its table, as small as can be, and that it continues."""

import json

import pytest
from PIL import Image

from fastreid_ext.rendered.plan import Settings
from fastreid_ext.rendered.writer import render_domain
from projects.DiffID.miniature.generated_sets import seen_poses
from projects.DiffID.miniature.replicate import main, parse
from projects.DiffusionReID.miniature.captioned_persons import DOMAINS, find_captions
from projects.DiffusionReID.miniature.recipe import RECIPES, Job, run_stages, with_steps

STEPS = {"autoencoder": 2, "clip": 2, "denoiser": 1}
SMALL = (
    *("GENERATION.POSE_GUIDED.ITERATIONS", "2", "GENERATION.SAMPLING.STEPS", "1"),
    *("SOLVER.MAX_EPOCH", "1", "SOLVER.ITERS_PER_EPOCH", "2", "SOLVER.IMS_PER_BATCH", "16"),
    *("SOLVER.WARMUP_EPOCHS", "0", "SOLVER.WARMUP_ITERS", "0"),
)


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    """Arguments of a run over four tiny rendered sets and base models of a few steps."""
    root = tmp_path_factory.mktemp("miniature")
    data = root / "data"
    biased = {"unusual_poses": 0.3, "difficulty": "easy", "front_walkers": True}
    render_domain(Settings("RenderedCampus", 5, 4, 4, 0, **biased), data)
    for domain in DOMAINS:
        render_domain(Settings(domain, 4, 2, 4, 1, difficulty="easy"), data)
    job = Job(
        recipe=with_steps(RECIPES["test"], STEPS),
        captions=find_captions([data], DOMAINS),
        output=root / "base",
    )
    run_stages(job, list(STEPS))
    folders = ("--data", data, "--base", root / "base", "--output", root / "out")
    few = ("--rows", "I", "truth", "VI", "--seeds", "0", "--probe-steps", "2")
    return parse([*map(str, folders), *few, *SMALL])


@pytest.mark.slow
def test_the_table_is_made_and_made_again(arguments, capsys):
    main(arguments)
    output = arguments.output
    content = json.loads((output / "table.json").read_text())
    assert [row["key"] for row in content["rows"]] == ["I", "truth", "VI", "transfer"]
    measured = {one["name"]: one for one in content["measured"]}
    assert set(measured) == {"real", "test", "II", "III", "IV", "V", "VI", "truth"}
    assert measured["VI"]["images"] == 5 * 24
    assert measured["II"]["images"] == 5 * 12
    assert measured["truth"]["images"] == 5 * 24
    assert "no test identity" in content["leakage"][0]
    assert Image.open(output / "strips.png").size[0] > 500
    written = {path: path.stat().st_mtime_ns for path in output.rglob("*.jpg")}
    assert written
    table = (output / "table.md").read_text()
    arguments.table_only = True
    arguments.rows = ["I", "III", "truth", "VI"]  # III is not finished, and is not trained
    main(arguments)
    assert (output / "table.md").read_text() == table
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*.jpg")} == written
    assert "upper bound" in capsys.readouterr().out


def test_poses_of_a_plan_are_listed_by_identity():
    from fastreid_ext.generation.pose_plan.plan import Plan, PlannedImage

    def planned(pid, number, azimuth):
        return PlannedImage(
            data_set="RenderedCampus",
            pid=pid,
            number=number,
            reference="a.jpg",
            pose="step",
            azimuth_deg=azimuth,
            elevation_deg=5.0,
            placement=(0.9, 0.0, 0.0, 6.0),
        )

    plan = Plan([planned(3, 0, 10.0), planned(3, 1, 200.0), planned(8, 0, 90.0)], {"step": 1}, None)
    found = seen_poses(plan)
    assert [azimuth for _, azimuth, _ in found[3]] == [10.0, 200.0]
    assert [(pose.name, pose.pose, elevation) for pose, _, elevation in found[8]] == [
        ("step", 1, 5.0)
    ]
