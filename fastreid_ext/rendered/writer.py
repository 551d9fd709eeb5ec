"""Render a domain to disk: workers, resume, atomic files.

One identity is the unit of work. Its pictures are rendered into ``.work/<pid>.partial``, moved into
the data set's folders, and only then is ``.work/<pid>.jsonl`` put in place; so a run killed at any
moment is finished by running it again, and the bytes do not depend on how often it was killed or
how many workers there were.
"""

import concurrent.futures
import dataclasses
import hashlib
import json
import logging
import multiprocessing
import multiprocessing.connection
import os
import platform
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numba
import numpy as np
from tqdm import tqdm

from fastreid_ext.atomic import atomic_write_bytes
from fastreid_ext.bodies.body_fits import FITS_FILE
from fastreid_ext.pictures.contact_sheet import contact_sheet, decode
from fastreid_ext.pictures.png import save_pixels
from fastreid_ext.rendered.plan import FOLDERS, PlannedIdentity, Settings, plan_domain
from fastreid_ext.rendered.rendered_images import render_images
from fastreid_ext.rendered.true_fits import write_true_fits
from fastreid_ext.saved_settings import expect_same

SCHEMA = 1  # raise when the same settings would give other pictures or other annotations
_SHEET_IDENTITIES = 10
_log = logging.getLogger(__name__)


def render_domain(settings: Settings, root: Path, *, workers: int = 1) -> Path:
    """Render one domain into ``root/<domain>``, or finish what an earlier run left.

    Args:
        settings: domain, numbers of identities and images, seed and size.
        root: folder of all data sets.
        workers: number of processes; 1 renders in the calling one.

    Returns:
        Folder of the rendered data set.

    Raises:
        ValueError: the folder holds a data set of other settings.
    """
    if workers < 1:
        raise ValueError(f"expected workers >= 1, got {workers}")
    folder = Path(root) / settings.domain
    if _finished(folder, settings):
        _log.info("%s is complete; nothing to render", folder)
        if not (folder / FITS_FILE).exists():  # rendered before sets had fits
            write_true_fits(folder, (settings.height, settings.width))
        shutil.rmtree(folder / ".work", ignore_errors=True)  # killed between the last two steps
        return folder
    work = folder / ".work"
    for name in (*FOLDERS, ".work"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(work / "settings.json", _as_json(settings))
    planned = plan_domain(settings)
    pending = [identity for identity in planned if not _rows_file(work, identity).exists()]
    total = len(planned) * settings.images_per_identity
    done = total - len(pending) * settings.images_per_identity
    with tqdm(total=total, initial=done, desc=settings.domain, unit="image", smoothing=0.1) as bar:
        for count in _render_all(settings, folder, pending, workers):
            bar.update(count)
    _assemble(settings, folder, planned)
    return folder


def _as_json(settings: Settings) -> bytes:
    return json.dumps({"schema": SCHEMA, **dataclasses.asdict(settings)}, indent=2).encode()


def _finished(folder: Path, settings: Settings) -> bool:
    """Tell whether the folder holds this data set; raise ValueError if it is another's."""
    wanted = json.loads(_as_json(settings))
    for name in ("dataset.json", ".work/settings.json"):
        if not (folder / name).exists():
            continue
        found = json.loads((folder / name).read_text())
        found = found.get("settings", found)
        expect_same(
            found,
            wanted,
            found=f"expected {folder} to be empty or from the same settings, got another data set",
            advice="remove the folder, choose another root, or repeat its settings",
        )
        if name == "dataset.json":
            return True
    if not (folder / ".work").exists() and any((folder / name).exists() for name in FOLDERS):
        raise ValueError(
            f"expected {folder} to be empty or begun by this renderer, "
            "got picture folders without dataset.json; "
            "remove them or choose another root"
        )
    return False


def _rows_file(work: Path, identity: PlannedIdentity) -> Path:
    return work / f"{identity.person_id:04d}.jsonl"


def _render_all(
    settings: Settings, folder: Path, pending: list[PlannedIdentity], workers: int
) -> Iterator[int]:
    """Render every pending identity and yield the number of pictures of each."""
    if workers == 1 or len(pending) < 2:
        for identity in pending:
            yield _render_identity(settings, folder, identity)
        return
    # Importing the package takes seconds: a server does it once and the workers are forked from it.
    # Forking this process itself would not be safe beside the threads of torch and OpenCV.
    context = multiprocessing.get_context("forkserver")
    # Not "__main__": the server does not know the folder of the script, whose imports would fail.
    context.set_forkserver_preload([__name__])
    with concurrent.futures.ProcessPoolExecutor(workers, context, _end_with_parent) as pool:
        jobs = [pool.submit(_render_identity, settings, folder, identity) for identity in pending]
        try:
            for job in concurrent.futures.as_completed(jobs):
                yield job.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _end_with_parent() -> None:
    """End a worker when its parent is gone, even one that was killed."""
    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _render_identity(settings: Settings, folder: Path, identity: PlannedIdentity) -> int:
    """Render one identity, move it in place and return the number of its pictures."""
    work = folder / ".work"
    partial = work / f"{identity.person_id:04d}.partial"
    partial.mkdir(exist_ok=True)
    rows = []
    for image, jpeg, row in render_images(settings, identity):
        (partial / Path(image.file).name).write_bytes(jpeg)
        rows.append(json.dumps({**row, "sha256": hashlib.sha256(jpeg).hexdigest()}))
    for image in identity.images:
        os.replace(partial / Path(image.file).name, folder / image.file)
    atomic_write_bytes(_rows_file(work, identity), ("\n".join(rows) + "\n").encode())
    partial.rmdir()
    return len(rows)


def _assemble(settings: Settings, folder: Path, planned: list[PlannedIdentity]) -> None:
    """Join the rows, write fits and contact sheet, dataset.json last; remove the work folder."""
    work = folder / ".work"
    atomic_write_bytes(
        folder / "annotations.jsonl",
        b"".join(_rows_file(work, identity).read_bytes() for identity in planned),
    )
    write_true_fits(folder, (settings.height, settings.width))
    often_seen = sorted(planned, key=lambda identity: -len({i.camera for i in identity.images}))
    rows = [_sheet_row(folder, identity) for identity in often_seen[:_SHEET_IDENTITIES]]
    save_pixels(contact_sheet(rows), folder / "contact_sheet.png")
    files = [image.file for identity in planned for image in identity.images]
    description = {
        "generator": "fastreid_ext.rendered",
        "settings": json.loads(_as_json(settings)),
        "config_hash": hashlib.sha256(_as_json(settings)).hexdigest(),
        "identities": {"train": settings.train_identities, "test": settings.test_identities},
        "images": {name: sum(file.startswith(f"{name}/") for file in files) for name in FOLDERS},
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": numba.__version__,
            "opencv": cv2.__version__,
        },
    }
    atomic_write_bytes(folder / "dataset.json", (json.dumps(description, indent=2) + "\n").encode())
    shutil.rmtree(work)


def _sheet_row(folder: Path, identity: PlannedIdentity) -> list[np.ndarray | None]:
    row: list[np.ndarray | None] = [None] * 6
    for image in reversed(identity.images):
        row[image.camera] = decode((folder / image.file).read_bytes())
    return row
