import importlib.util
from pathlib import Path

TOOL = Path(__file__).parents[3] / "tools" / "benchmarks" / "batched_corruptions.py"


def test_prints_images_per_second_and_operations(monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("batched_corruptions", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    arguments = "tool --batch 4 --size 40 32 --rounds 1 --warm-up 1 --one-by-one".split()
    monkeypatch.setattr("sys.argv", arguments)
    tool.main(tool.parse())
    printed = capsys.readouterr().out
    assert all(name in printed for name in tool.BATCHED)
    assert "mix of 15, corrupt() on the CPU" in printed
    assert "cpu, batch 4 of 40x32: " in printed.splitlines()[-1]
