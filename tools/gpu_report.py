"""Run what only a GPU can show, in at most 8 minutes: does it work, is it equal, how fast is it?

    python tools/gpu_report.py --output logs/gpu_report
    python tools/gpu_report.py --device cpu --size tiny --output logs/cpu_report    # a rehearsal

Parts, most valuable first. Each is a process of its own with a time limit, so that one that crashes
or hangs costs nothing else. report.json and report.md in --output are renewed after every part.
Rendered persons are the data; nothing is downloaded. Exit code 1 if a part failed.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from command import parse_command, run, tool_parser

sys.path.append(str(Path(__file__).resolve().parent / "benchmarks"))
from measuring.part_report import PartReport, write_report

REPOSITORY = Path(__file__).resolve().parent.parent
_OUTPUT_LINES = 60  # of a part that are kept in the report
_PROGRESS_BAR = "%|"
_MINUTES = 8.0  # for which the limits of the parts are made
_TINY_GENERATION = ["--size", "miniature", "--dtype", "float32", "--tuning-steps", "2"]
_TINY_GENERATION += ["--steps", "2", "--persons", "2", "--images", "2", "--batch-size", "2"]
_TINY_BASELINES = ["--baselines", "BoT", "--size", "96", "48", "--batch", "8", "--steps", "1"]
_TINY_BASELINES += ["--warm-up", "1", "--loader-batches", "1", "--workers", "0"]
_TINY_BRANCH = ["--batch", "4", "--rounds", "1", "--modes", "lora", "--levers", "latents"]
_TINY_DAPG = ["--depth", "18x", "--size", "64", "32", "--batch", "4", "--rounds", "1"]
_TINY_POSES = ["--size", "test", "--dtype", "float32", "--batch", "2", "--images", "2"]
_TINY_POSES += ["--steps", "2", "--rounds", "1"]
# Compiling takes longer than everything else of this part.
_BRANCH_LEVERS = ["--levers", "latents", "dtype", "attention", "gradients", "layout"]


class PartError(Exception):
    """A command of a part failed, or its result is not what it must be."""


class Bench:
    """Commands of one part, with a deadline for all of them together.

    Attributes:
        args: command line of the report.
        folder: folder for the files of all parts.
        lines: lines that the part's commands printed.
    """

    def __init__(self, args: argparse.Namespace, deadline: float) -> None:
        """Start a part whose commands end at ``deadline``, a value of ``time.monotonic``."""
        self.args = args
        self.folder = args.output
        self.lines: list[str] = []
        self._deadline = deadline

    @property
    def is_tiny(self) -> bool:
        """Whether sizes are those of the rehearsal."""
        return self.args.size == "tiny"

    def run(self, *words: object) -> str:
        """Run a Python command from the repository and return what it prints.

        Raises:
            PartError: the command's exit code is not 0.
            subprocess.TimeoutExpired: the part's time is over.
        """
        process = self.start(*words)
        try:
            output, _ = process.communicate(timeout=self._remaining())
        except subprocess.TimeoutExpired as error:
            _kill(process)
            self.lines += (error.stdout or b"").decode(errors="replace").splitlines()
            raise
        self.lines += [line for line in output.splitlines() if _PROGRESS_BAR not in line]
        if process.returncode:
            raise PartError(f"exit code {process.returncode}: {' '.join(map(str, words))}")
        return output

    def start(self, *words: object) -> subprocess.Popen:
        """Start a Python command in a process group of its own."""
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
        return subprocess.Popen(
            [sys.executable, *map(str, words)],
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run_until(self, file: Path, *words: object) -> None:
        """Run a command, and kill it with SIGKILL as soon as ``file`` exists.

        Raises:
            PartError: the command ended before.
            subprocess.TimeoutExpired: the part's time is over.
        """
        process = self.start(*words)
        try:
            while not file.exists():
                if process.poll() is not None:
                    self.lines += process.stdout.read().splitlines()
                    raise PartError(f"ended before it wrote {file.name}; nothing to resume")
                if self._remaining() <= 0.1:
                    raise subprocess.TimeoutExpired(process.args, 0)
                time.sleep(0.05)
        finally:
            _kill(process)

    def train(self, run: str, *words: object) -> list[object]:
        """Return the command of the smoke training in folder ``run``."""
        persons = self.folder / "datasets"
        keys = ["DATASETS.ROOT", persons, "OUTPUT_DIR", self.folder / run]
        keys += ["MODEL.DEVICE", self.args.device, "SOLVER.AMP.ENABLED", self.args.device != "cpu"]
        options = ["--config-file", "configs/smoke/bagtricks.yml"]
        return ["tools/train_net.py", *options, *words, *keys]

    def _remaining(self) -> float:
        return max(self._deadline - time.monotonic(), 0.1)


def _kill(process: subprocess.Popen) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)  # its loader workers too
    except ProcessLookupError:
        pass
    process.wait()


def gpu_tests(bench: Bench) -> dict[str, Any]:
    """Run the tests that need a GPU."""
    file = bench.folder / "gpu_tests.xml"
    words = ["-m", "pytest", "-q", "-m", "gpu", f"--junitxml={file}"]
    if bench.is_tiny:
        words.append("tests/tools/benchmarks")
    bench.run(*words)
    suite = xml.etree.ElementTree.parse(file).getroot().find("testsuite")
    counts = {key: int(suite.get(key)) for key in ("tests", "failures", "errors", "skipped")}
    if counts["skipped"] == counts["tests"] and not bench.is_tiny:
        raise PartError("every test was skipped: torch finds no CUDA device")
    return counts


def smoke(bench: Bench) -> dict[str, Any]:
    """Render persons and train BoT with mixed precision."""
    sizes = ["--train-identities", 12, "--test-identities", 8, "--images-per-identity", 8]
    root = ["--root", bench.folder / "datasets"]
    bench.run("tools/render_persons.py", "--domain", "RenderedCampus", *sizes, *root)
    bench.run(*bench.train("whole"))
    return _metrics(bench.folder / "whole" / "result.json")


def resume(bench: Bench) -> dict[str, Any]:
    """Kill the same training after its first checkpoint, resume it, and compare the weights."""
    _expect_smoke_run(bench)
    folder = bench.folder / "killed"
    bench.run_until(folder / "last_checkpoint", *bench.train("killed"))
    bench.run(*bench.train("killed", "--resume"))
    whole = _weights(bench.folder / "whole")
    resumed = _weights(folder)
    largest = max(float((whole[key] - resumed[key]).abs().max()) for key in whole)
    return {"tensors": len(whole), "largest difference of a weight": largest}


def evaluation(bench: Bench) -> dict[str, Any]:
    """Evaluate one model on the CPU and on the device in full precision; differences in points."""
    weights = _expect_smoke_run(bench)
    found = []
    for device in ("cpu", bench.args.device):
        output = f"evaluated_{device.replace(':', '_')}"
        words = bench.train(output, "--eval-only", "MODEL.WEIGHTS", weights)
        bench.run(*words, "MODEL.DEVICE", device, "SOLVER.AMP.ENABLED", False)
        found.append(_metrics(bench.folder / output / "evaluation.json"))
    differences = {key: abs(found[0][key] - found[1][key]) for key in found[0]}
    if max(differences.values()) > 0.5:
        raise PartError(f"expected equal metrics to 0.5 points, got {found[0]} and {found[1]}")
    return {f"difference of {key}": value for key, value in differences.items()}


def baselines(bench: Bench) -> dict[str, Any]:
    """Measure the training step of BoT, AGW, SBS and MGN."""
    file = bench.folder / "baselines.json"
    sizes = _TINY_BASELINES if bench.is_tiny else []
    bench.run("tools/benchmarks/baselines.py", *_on(bench), "--json", file, *sizes)
    return {
        f"{row['baseline']} {key}": row[key]
        for row in json.loads(file.read_text())
        for key in ("step_images_per_second", "busy", "bound_by", "peak_gib")
    }


def diffusion_branch(bench: Bench) -> dict[str, Any]:
    """Measure what the diffusion branch of DCAC adds to a training step, by mode and lever."""
    file = bench.folder / "diffusion_branch.json"
    sizes = _TINY_BRANCH if bench.is_tiny else [*_BRANCH_LEVERS, "--rounds", 3]
    bench.run("tools/benchmarks/diffusion_branch.py", *_on(bench), "--output", file, *sizes)
    content = json.loads(file.read_text())
    goals = {f"goal of {key}": verdict for key, verdict in content["goals"].items()}
    return goals | {
        f"{row['name']} {key} / baseline": row[key]
        for row in content["rows"]
        for key in ("step", "memory")
        if not row["skipped"]
    }


def fine_tuning(bench: Bench) -> dict[str, Any]:
    """Measure fine-tuning of identities at the size of Stable Diffusion 1.x."""
    return _generation(bench, "fine-tuning")


def sampling(bench: Bench) -> dict[str, Any]:
    """Measure sampling of identities at the size of Stable Diffusion 1.x."""
    return _generation(bench, "sampling")


def pose_guided(bench: Bench) -> dict[str, Any]:
    """Measure the pose-guided generator of Diff-ID; cached references must give equal images."""
    file = bench.folder / "pose_guided.json"
    sizes = _TINY_POSES if bench.is_tiny else ["--size", "sd1", "--rounds", 2]
    bench.run("tools/benchmarks/pose_guided.py", *_on(bench), "--output", file, *sizes)
    return json.loads(file.read_text())["figures"]


def corruptions(bench: Bench) -> dict[str, Any]:
    """Measure corruptions of whole batches on the device."""
    sizes = ["--batch", 2, "--size", 64, 32, "--rounds", 1, "--warm-up", 0] if bench.is_tiny else []
    bench.run("tools/benchmarks/batched_corruptions.py", *_on(bench), *sizes)
    return {}


def dapg_step(bench: Bench) -> dict[str, Any]:
    """Measure the share of loading and corrupting in a step of DAPG's stage 1."""
    file = bench.folder / "dapg_step.json"
    sizes = _TINY_DAPG if bench.is_tiny else []
    bench.run("tools/benchmarks/dapg_step.py", *_on(bench), "--json", file, *sizes)
    content = json.loads(file.read_text())
    shares = {f"share of {name}": share for name, share in content["shares"].items()}
    return shares | {"goal of 20 %": "met" if content["goal met"] else "missed"}


def ranking(bench: Bench) -> dict[str, Any]:
    """Measure ranking and re-ranking at the size of Market-1501."""
    size = ["--size", "small" if bench.is_tiny else "market", "--rounds", 1, *_on(bench)]
    bench.run("tools/benchmarks/ranking.py", *size, "--quality", "medium", "--no-cython")
    bench.run("tools/benchmarks/reranking.py", *size, "--no-dense")
    return {}


# Name -> (what it does, seconds at most). The sum exceeds 8 minutes: a part rarely takes them all.
PARTS: dict[str, tuple[Callable[[Bench], dict[str, Any]], float]] = {
    "gpu tests": (gpu_tests, 110.0),
    "smoke training with AMP": (smoke, 90.0),
    "kill and resume": (resume, 60.0),
    "evaluation, CPU and GPU": (evaluation, 50.0),
    "four baselines": (baselines, 110.0),
    "diffusion branch": (diffusion_branch, 80.0),
    "fine-tuning": (fine_tuning, 80.0),
    "sampling": (sampling, 80.0),
    "pose-guided generator": (pose_guided, 90.0),
    "corruptions": (corruptions, 40.0),
    "stage 1 of DAPG": (dapg_step, 40.0),
    "ranking": (ranking, 60.0),
}


def _on(bench: Bench) -> list[str]:
    return ["--device", bench.args.device]


def _generation(bench: Bench, part: str) -> dict[str, Any]:
    sizes = _TINY_GENERATION if bench.is_tiny else ["--size", "sd1", "--images", 4]
    bench.run("tools/benchmarks/generation.py", *_on(bench), "--parts", part, *sizes)
    return {}


def _expect_smoke_run(bench: Bench) -> Path:
    """Return the weights of the smoke training, which other parts compare with."""
    weights = bench.folder / "whole" / "model_final.pth"
    if not weights.is_file():
        raise PartError(f"expected {weights}, which the part 'smoke training with AMP' makes")
    return weights


def _metrics(file: Path) -> dict[str, float]:
    """Return the percentages of the one test set in a file of results."""
    (metrics,) = json.loads(file.read_text())["metrics"].values()
    return {key: value for key, value in metrics.items() if key in ("Rank-1", "mAP", "mINP")}


def _weights(folder: Path) -> dict[str, Any]:
    from fastreid_ext.engine.checkpoint import read_checkpoint

    model = read_checkpoint(folder / "model_final.pth")["model"]
    return {key: value.double() for key, value in model.items()}


def measure(args: argparse.Namespace, name: str, end: float) -> PartReport:
    """Run one part until its own limit or ``end``, whichever comes first."""
    part, limit = PARTS[name]
    began = time.monotonic()
    bench = Bench(args, min(began + limit * args.minutes / _MINUTES, end))
    report = PartReport(name)
    try:
        report.figures = part(bench)
        report.status = "passed"
    except subprocess.TimeoutExpired:
        report.status = "out of time"
    except (PartError, OSError, KeyError, ValueError) as error:
        report.status = "failed"
        report.error = f"{type(error).__name__}: {error}"
    report.seconds = time.monotonic() - began
    report.output = "\n".join(bench.lines[-_OUTPUT_LINES:])
    return report


def main(args: argparse.Namespace) -> int:
    """Run the parts in order and return the exit code."""
    from fastreid_ext.engine.results import commit, versions

    args.output = args.output.resolve()
    args.output.mkdir(parents=True, exist_ok=True)
    about = {"commit": commit(), "device": args.device, "size": args.size, "versions": versions()}
    end = time.monotonic() + 60 * args.minutes
    reports = {name: PartReport(name) for name in args.parts}
    for name in args.parts:
        if time.monotonic() < end:
            reports[name] = measure(args, name, end)
        write_report(args.output, list(reports.values()), about)
        print(f"{name}: {reports[name].status} ({reports[name].seconds:.0f} s)", flush=True)
    failed = [name for name, one in reports.items() if one.status == "failed"]
    print(f"{args.output / 'report.md'}: {len(failed)} of {len(reports)} parts failed")
    return 1 if failed else 0


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder of report and files")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu (cuda)")
    parser.add_argument("--size", choices=("full", "tiny"), default="full", help="(full)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument(
        "--minutes", type=float, default=_MINUTES, help=f"for all parts ({_MINUTES:g})"
    )
    return parse_command(parser, arguments)


if __name__ == "__main__":
    run(main, parse())
