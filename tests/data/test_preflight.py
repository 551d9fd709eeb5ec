import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest

from fastreid_ext.data.image_check import unreadable_images
from fastreid_ext.data.preflight import _repeated, preflight
from fastreid_ext.data.published_counts import ALL_IMAGES

from .conftest import write_image, write_market, write_split
from .test_generated_persons import write_generated

TOOL = Path(__file__).resolve().parents[2] / "tools" / "check_data.py"


@pytest.fixture
def market(tmp_path):
    """Write a Market-1501 tree that a test may change; return the folder of the splits."""
    return write_market(tmp_path / "Market-1501-v15.09.15")


def found(texts, *patterns):
    """Tell whether there is exactly one text for each pattern, in order."""
    assert len(texts) == len(patterns), texts
    return all(re.search(pattern, text) for pattern, text in zip(patterns, texts, strict=True))


def test_preflight_good_data_has_a_table(make_cfg):
    report = preflight(make_cfg())
    assert report.ok
    assert report.warnings == []
    assert report.rows == [
        ("Market1501", "train", 32, 8, "4 / 4 / 4", 0, 2),
        ("Market1501", "query", 6, 3, "2 / 2 / 2", 0, 2),
        ("Market1501", "gallery", 12, 3, "4 / 4 / 4", 0, 2),
    ]
    assert re.search(r"\| Market1501 +\| train +\| 32 ", str(report))
    report.raise_if_not_ok()


def spoil_three(market):
    train = sorted((market / "bounding_box_train").iterdir())
    large = write_image(market / "large.jpg", size=(64, 128))
    train[3].write_bytes(large.read_bytes()[:1500])
    large.unlink()
    train[10].write_bytes(b"")
    (gallery := sorted((market / "bounding_box_test").iterdir())[0]).write_bytes(b"no image" * 9)
    return train[3], train[10], gallery


def test_preflight_names_all_corrupt_images(make_cfg, market, tmp_path):
    cut, empty, text = spoil_three(market)
    report = preflight(make_cfg(tmp_path, DATASETS__PREFLIGHT="full"))
    assert found(
        report.problems,
        rf"{cut} cannot be read: image file is truncated.*; restore or remove it",
        rf"{empty} cannot be read: cannot identify image file",
        rf"{text} cannot be read: cannot identify image file",
    )
    with pytest.raises(ValueError, match=r"the data cannot be used:\n  - .*\n  - .*\n  - .*"):
        report.raise_if_not_ok()


def test_preflight_headers_and_off_decode_nothing(make_cfg, market, tmp_path):
    _, empty, text = spoil_three(market)
    report = preflight(make_cfg(tmp_path, DATASETS__PREFLIGHT="headers"))
    assert found(report.problems, str(empty), str(text))
    assert preflight(make_cfg(tmp_path, DATASETS__PREFLIGHT="off")).ok


@pytest.mark.parametrize("workers", [0, 2])
def test_preflight_does_not_depend_on_processes(market, workers):
    spoiled = {str(path) for path in spoil_three(market)}
    paths = sorted(str(path) for path in market.rglob("*.jpg"))
    broken = unreadable_images(paths, decode=True, workers=workers)
    assert {path for path, _ in broken} == spoiled
    assert [path for path, _ in broken] == sorted(spoiled)


def test_preflight_counts_many_broken_images(make_cfg, market, tmp_path):
    write_split(market / "bounding_box_train", range(20, 40))
    for path in (market / "bounding_box_train").iterdir():
        path.write_bytes(b"")
    report = preflight(make_cfg(tmp_path))
    assert len(report.problems) == 51
    assert report.problems[-1] == "and 62 more of 130 images"


def test_preflight_reports_all_missing_sets(make_cfg, tmp_path):
    tests = ("Market1501", "MSMT17", "RenderedMall")
    report = preflight(make_cfg(tmp_path, DATASETS__TESTS=tests))
    assert found(
        report.problems, "Market1501 is not compl", "MSMT17 is not", "no data set Rendered"
    )
    assert str(report).startswith("problem: data set Market1501")


def test_preflight_counts_identities_with_one_image(make_cfg, market, tmp_path):
    write_split(market / "bounding_box_train", [20, 21], cameras=(1,), images=1)
    report = preflight(make_cfg(tmp_path))
    assert report.ok
    assert found(
        report.warnings, r"2 of 10 identities have one training image: .* are copies of it"
    )
    assert report.rows[0][4:6] == ("1 / 4 / 4", 2)


def test_preflight_batch_needs_more_identities(make_cfg):
    report = preflight(make_cfg(SOLVER__IMS_PER_BATCH=20))
    assert found(
        report.problems, r"needs 10 different identities .* lower SOLVER.IMS_PER_BATCH to 16"
    )


def test_preflight_depends_on_world_size(make_cfg):
    assert preflight(make_cfg(), world_size=4).ok
    report = preflight(make_cfg(), world_size=8)
    assert found(report.problems, r"expected a batch of complete identities in each of 8 processes")


def test_preflight_finds_identities_in_training_and_test(make_cfg, market, tmp_path):
    write_split(market / "bounding_box_train", [9, 10])
    report = preflight(make_cfg(tmp_path))
    text = (
        r"2 identities and 0 images of the test of Market1501 are also in training \(e.g. market15"
    )
    assert found(report.problems, text)
    combined = preflight(make_cfg(tmp_path, DATASETS__COMBINEALL=True))
    assert combined.ok
    assert found(combined.warnings[1:], r"and 18 images .* as DATASETS.COMBINEALL asks")


def test_preflight_counts_queries_without_match(make_cfg, market, tmp_path):
    write_split(market / "query", [30], cameras=(1,), images=1)
    report = preflight(make_cfg(tmp_path))
    assert report.ok
    assert found(report.warnings, r"1 of 7 queries of Market1501 have no image of their identity")
    shutil.rmtree(market / "bounding_box_test")
    write_split(market / "bounding_box_test", [40])
    report = preflight(make_cfg(tmp_path))
    assert found(
        report.problems, r"none of the 7 queries of Market1501 has its identity in the gal"
    )


def test_preflight_match_needs_another_camera(make_cfg, market, tmp_path):
    for path in (market / "bounding_box_test").glob("0009_c2*"):
        path.unlink()
    assert found(preflight(make_cfg(tmp_path)).warnings, r"1 of 6 queries")


def test_preflight_finds_a_set_listed_twice(make_cfg, tmp_path):
    generated = str(write_generated(tmp_path, range(1, 9)))
    keys = {
        "DATASETS__NAMES": ("GeneratedPersons",),
        "DATASETS__GENERATED__ROOTS": [generated, generated],
    }
    report = preflight(make_cfg(**keys))
    text = r"32 images .* several identities \(e.g. .*0000.jpg as generated0_market1501_0001, gen"
    assert found(report.problems, text)
    report = preflight(make_cfg(**keys, DATASETS__GENERATED__PERSON_IDS="kept"))
    assert found(report.warnings, r"32 training images are listed more than once")


def test_preflight_counts_identities_of_one_kind(make_cfg, tmp_path):
    cfg = make_cfg(
        DATASETS__NAMES=("Market1501", "GeneratedPersons"),
        DATASETS__GENERATED__ROOTS=[str(write_generated(tmp_path, range(1, 4)))],
        DATASETS__GENERATED__PERSON_IDS="kept",
        DATASETS__GENERATED__BATCH_SHARE=0.5,
    )
    report = preflight(cfg)
    assert report.ok
    assert found(report.warnings, r"5 of 8 identities have real images only or generated ones only")


def test_preflight_impossible_share_is_a_problem(make_cfg):
    cfg = make_cfg().clone()
    cfg.defrost()
    cfg.DATASETS.GENERATED.BATCH_SHARE = 0.5
    report = preflight(cfg)
    assert found(report.problems, "there are no generated ones; add a generated set")


@pytest.fixture
def run_tool(monkeypatch, capsys):
    """Run the tool as the command line does; return exit status and output."""

    def run(root, *flags, **changes):
        keys = {
            "DATASETS.ROOT": root,
            "DATASETS.NAMES": "('Market1501',)",
            "DATASETS.TESTS": "('Market1501',)",
            "DATALOADER.SAMPLER_TRAIN": "NaiveIdentitySampler",
            "DATALOADER.NUM_INSTANCE": 2,
            "SOLVER.IMS_PER_BATCH": 8,
        }
        keys |= {name.replace("__", "."): value for name, value in changes.items()}
        pairs = [str(part) for pair in keys.items() for part in pair]
        monkeypatch.setattr(sys, "argv", ["check_data.py", *flags, *pairs])
        status = 0
        try:
            runpy.run_path(str(TOOL), run_name="__main__")
        except SystemExit as stopped:
            status = stopped.code
        return status, capsys.readouterr().out

    return run


def test_check_data_exits_with_the_reason(run_tool, market, tmp_path):
    status, output = run_tool(tmp_path)
    assert status == 0
    assert output.endswith("ok: 0 problems, 0 warnings\n")
    spoiled = spoil_three(market)
    status, output = run_tool(tmp_path, DATASETS__PREFLIGHT="full")
    assert status == 2
    assert all(str(path) in output for path in spoiled)
    assert output.endswith("not usable: 3 problems, 0 warnings\n")


def test_check_data_compares_generated_images_with_rows(run_tool, market, tmp_path):
    generated = write_generated(tmp_path / "made", range(1, 5))
    names = "('Market1501', 'GeneratedPersons')"
    changes = {"DATASETS__NAMES": names, "DATASETS__GENERATED__ROOTS": "['made']"}
    assert run_tool(tmp_path, "--hashes", **changes)[0] == 0
    changed = write_image(generated / "market1501_0002" / "0001.jpg", seed=99)
    status, output = run_tool(tmp_path, "--hashes", **changes)
    assert status == 2
    assert f"metadata.jsonl:2: {changed} has another sha256 than the row; was it ch" in output


def test_preflight_checks_a_test_set_alone(run_tool, market, tmp_path):
    shutil.rmtree(market / "bounding_box_train")
    keys = {"DATASETS__FOLDER": market, "DATASETS__TESTS": "('PersonFolder',)"}
    status, output = run_tool(tmp_path, DATASETS__NAMES="()", **keys)
    assert status == 0
    assert "| PersonFolder | gallery" in output
    assert "train" not in output.split("ok:")[0]
    cameras = sorted((market / "query").iterdir())
    for path in cameras:
        path.unlink()
    assert run_tool(tmp_path, DATASETS__NAMES="()", **keys)[0] == 2


def test_preflight_combined_set_counts_identities_once(make_cfg, market, tmp_path):
    report = preflight(make_cfg(tmp_path, DATASETS__COMBINEALL=True))
    assert report.rows[0][:4] + report.rows[0][-1:] == ("Market1501", "train", 50, 11, 2)
    assert found(
        report.warnings,
        r"^Market1501 has 50 images of 11 identities, .* published .* 29,419 and 1,501; ",
        r"^3 identities and 18 images of the test of Market1501 are trained",
    )


def test_background_persons_of_market_are_never_trained_on(make_cfg, market, tmp_path):
    write_split(market / "bounding_box_test", [0])
    write_image(market / "bounding_box_test" / "-1_c1s1_000001_00.jpg", seed=5)
    report = preflight(make_cfg(tmp_path, DATASETS__COMBINEALL=True))
    assert report.rows[0][:4] == ("Market1501", "train", 50, 11)


def test_published_counts_of_metabin_s_five_sets_have_its_sum():
    own = ("CUHK02", "CUHK03Detected", "Market1501", "DukeMTMC", "cuhkSYSU")
    images, identities = zip(*(ALL_IMAGES[name] for name in own), strict=True)
    assert (sum(images), sum(identities)) == (121_765, 18_530)


def test_preflight_generated_set_without_ok_images(make_cfg, tmp_path):
    generated = str(write_generated(tmp_path, range(1, 4), images=0))
    cfg = make_cfg(DATASETS__NAMES=("GeneratedPersons",), DATASETS__GENERATED__ROOTS=[generated])
    text = r"no image with status ok, got 3 rejected, 3 failed; loosen the filter"
    assert found(preflight(cfg).problems, text)


def test_preflight_duplicates_take_little_memory(tmp_path):
    paths = [f"{tmp_path}/{number}.jpg" for number in range(1000)]
    assert _repeated(paths) == []
    assert _repeated([*paths, paths[3], f"{tmp_path}/x/../3.jpg"]) == [3, 1000, 1001]
    assert _repeated([]) == []
