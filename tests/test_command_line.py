"""Messages that a user sees when a command fails."""

import subprocess
import sys
from pathlib import Path

import pytest

from fastreid_ext.command_line import short_errors
from fastreid_ext.config import load_config
from fastreid_ext.engine import UnfitDataError
from fastreid_ext.manifest import read_set

REPOSITORY = Path(__file__).resolve().parents[1]


def test_an_error_of_our_checks_is_one_message(capsys, tmp_path):
    with pytest.raises(SystemExit) as end, short_errors():
        load_config("", ["SOLVER.BASE_LRR", "1"])
    assert end.value.code == 1
    message = capsys.readouterr().err
    assert message.startswith("error: command line: unknown name 'SOLVER.BASE_LRR' in the")
    assert message.count("\n") == 1
    with pytest.raises(SystemExit), short_errors():
        read_set(tmp_path)
    assert capsys.readouterr().err.startswith(f"error: no generated set at {tmp_path}")


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ValueError, match="invalid literal"), short_errors():
        int("one")
    with pytest.raises(TypeError), short_errors():  # in our code, but not raised by it
        read_set(None)
    with pytest.raises(IsADirectoryError), short_errors():
        Path("/").read_text()


def test_unfit_data_and_ctrl_c_have_their_exit_codes(monkeypatch):
    assert UnfitDataError.exit_code == 2
    with pytest.raises(SystemExit) as end, short_errors():
        raise KeyboardInterrupt
    assert end.value.code == 130


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train_net.py --eval-only MODEL.DEVICE cpu", "expected a checkpoint to evaluate"),
        ("demo.py --seed -1 --output {}", "expected a seed >= 0, got -1"),
        ("plot.py training {}", "no metrics"),
        ("render_persons.py --workers 0 --root {}", "expected workers >= 1, got 0"),
    ],
)
def test_a_tool_ends_with_the_message(command, message, tmp_path):
    tool, *arguments = command.format(tmp_path).split()
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "tools" / tool), *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert message in done.stderr.splitlines()[-1]
