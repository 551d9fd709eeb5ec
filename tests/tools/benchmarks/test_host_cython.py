import pytest

from measuring import host_cython


def test_a_failed_compilation_shows_the_compilers_words(tmp_path, monkeypatch):
    monkeypatch.setattr(host_cython, "_SETUP", "raise SystemExit('gcc: command not found')")
    with pytest.raises(RuntimeError, match=r"(?s)needs Cython .*gcc: command not found"):
        host_cython.compiled_evaluate(tmp_path)
