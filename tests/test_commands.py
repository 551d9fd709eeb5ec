"""Commands of the documents, run one after another as a user types them.

Each runs on what the commands before it wrote, so defaults that do not fit each other show. A
training of a smoke recipe must also be what its weights give when they are evaluated. Left out is
what needs data or weights that only a user has, several GPUs, or an hour (`LEFT_OUT`).
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
# Documents that are read one after the other, in one folder. Chains run at the same time.
CHAINS = [
    (
        "README.md",
        "docs/training.md",
        "docs/configuration.md",
        "docs/evaluation.md",
        "docs/corruptions.md",
        "docs/datasets.md",
        "docs/pictures.md",
        "docs/deployment.md",
        "docs/rendered.md",
        "docs/body_fits.md",
        "docs/pose_guided.md",
    ),
    ("configs/smoke/README.md",),
    ("projects/BDB/README.md", "projects/CIL/README.md", "projects/DAPG/README.md"),
    ("projects/SimCLR/README.md", "projects/BYOL/README.md", "projects/SOLIDER/README.md"),
    ("projects/Unsupervised/README.md",),
    ("projects/DomainAdaptation/README.md",),
    ("projects/VisibleInfrared/README.md", "projects/DomainGeneralisation/README.md"),
    ("projects/DCAC/README.md",),
    ("projects/DiffID/README.md",),
    ("projects/DiffusionReID/README.md",),
]
LEFT_OUT = (
    *(
        "Market1501",
        "MSMT17",
        "SYSU-MM01",
        "RegDB",
        "CUHK03",
        "LUPerson",
        "projects/DiffusionReID",
    ),  # public data
    *("/data/shop", "lup_moco_r50.pth"),  # a user's files
    *(
        "configs/RenderedCampus",
        "_to_Rendered",
        "RenderedMall+",
        "--domain all",
        "leave_one_out",
        "pictures",
    ),  # hours
    *("configs/miniature", "datasets/miniature", "gpu_report", "torchrun", "make "),
)
DEMO = (
    "python tools/demo.py --train-identities 12 --test-identities 8 --images-per-identity 8 "
    "SOLVER.MAX_EPOCH 2 SOLVER.IMS_PER_BATCH 16 SOLVER.WARMUP_ITERS 4"
)
SMOKE_TRAINING = r"python tools/train_net.py --config-file configs/smoke/(\w+).yml"


def commands_of(document):
    """Return the commands of a document's plain blocks; the demo is made small."""
    text = (REPOSITORY / document).read_text().replace("make demo ", DEMO)
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    blocks = [block for language, block in fences if not language]
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    return [line for line in lines if not any(part in line for part in LEFT_OUT)]


@pytest.fixture
def checkout(tmp_path):
    """A folder that looks like the repository and takes what the commands write."""
    for name in ("configs", "projects", "tools", "docs"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    return tmp_path


def test_every_document_with_commands_is_in_a_chain():
    folders = ("*.md", "docs/*.md", "projects/*/README.md", "configs/*/README.md", "tools/*.md")
    documents = [path for folder in folders for path in sorted(REPOSITORY.glob(folder))]
    names = [str(path.relative_to(REPOSITORY)) for path in documents]
    chained = {name for documents in CHAINS for name in documents}
    assert [name for name in names if name not in chained and commands_of(name)] == ["docs/demo.md"]
    assert commands_of("docs/demo.md") == commands_of("README.md")[:1]


@pytest.mark.slow
@pytest.mark.parametrize("documents", CHAINS, ids=lambda names: names[0])
def test_commands_run_one_after_another(documents, checkout):
    commands = [line for document in documents for line in commands_of(document)]
    assert len(commands) >= 4
    for command in dict.fromkeys(commands):  # each page begins with the same small set
        words = shlex.split(command, comments=True)
        assert words[0] == "python", command
        if "configs/demo.yml" in words:
            words += ["MODEL.DEVICE", "cpu", "SOLVER.AMP.ENABLED", "False"]  # as README says
        printed = run(words[1:], checkout)
        recipe = re.fullmatch(SMOKE_TRAINING, command)
        if recipe:
            weights = f"logs/smoke/{recipe[1]}/model_final.pth"
            evaluated = run([*words[1:], "--eval-only", "MODEL.WEIGHTS", weights], checkout)
            assert evaluated.splitlines()[-1] == printed.splitlines()[-1], command


def run(words, checkout):
    done = subprocess.run(
        [sys.executable, *words],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout.strip()
