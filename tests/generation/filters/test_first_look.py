"""The first identities of a job are filtered as soon as they are generated."""

import dataclasses
import logging

from fastreid_ext.generation.filters.first_look import first_look
from fastreid_ext.manifest import read_identity, write_identity

NAMES = ["PersonFolder_0001", "PersonFolder_0002"]


def test_first_look_logs_the_share_that_passes(job, cfg, models, caplog):
    caplog.set_level(logging.INFO)
    first_look(cfg("REID.RULE", "fixed", "REID.THRESHOLD", "0.9"), models, NAMES)
    assert "4 of 8 images of the first 2 identities pass the filters" in caplog.text
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    assert all(
        "reid_margin" in row.image.scores for row in read_identity(job / "images" / NAMES[0])
    )


def test_first_look_warns_when_few_images_pass(job, cfg, models, caplog):
    for name in NAMES:  # no identity of the real images
        rows = [entry.image for entry in read_identity(job / "images" / name)]
        write_identity(
            job / "images" / name, [dataclasses.replace(row, person_id=9) for row in rows]
        )
    first_look(cfg("REID.RULE", "nearest"), models, NAMES)
    [record] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert record.message.startswith("only 0 of 8 images of the first 2 identities pass the filter")
    assert "most frequent reason: filter reid: there is no real image" in record.message
    assert str(job / "images" / NAMES[0]) in record.message


def test_first_look_logs_errors_and_goes_on(job, cfg, models, caplog):
    models["reid"] = (*models["reid"], ("PersonFolder",))  # a percentile has no test images here
    first_look(cfg(), models, NAMES)
    assert "the filters could not look at PersonFolder_0001, PersonFolder_0002" in caplog.text
    assert "expected test images of PersonFolder" in caplog.text
