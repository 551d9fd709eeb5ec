import logging

import pytest

from fastreid_ext.data.text_lines import read_text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_read_text_equals_in_every_encoding(tmp_path, caplog, encoding):
    file = tmp_path / "list.txt"
    file.write_bytes("Köln/1.jpg\r\n".encode(encoding))
    with caplog.at_level(logging.WARNING):
        assert read_text(file).splitlines() == ["Köln/1.jpg"]
    assert ("is read as Latin-1" in caplog.text) is (encoding == "latin-1")


def test_read_text_refuses_utf_16(tmp_path):
    file = tmp_path / "list.txt"
    file.write_bytes("a.jpg".encode("utf-16"))
    with pytest.raises(
        ValueError, match=r"list.txt: expected a text file in UTF-8, got bytes of value 0"
    ):
        read_text(file)
