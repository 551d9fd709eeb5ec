import pytest

import model_summary

SMOKE = "configs/smoke/AGW.yml"


def table_of(capsys, *words):
    model_summary.main(model_summary.parse(["--config-file", SMOKE, *words]))
    lines = capsys.readouterr().out.splitlines()
    assert len({len(line) for line in lines}) == 1
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_parts_add_up(capsys):
    heads, _, *parts, whole, kept = table_of(capsys, "--identities", "2000")
    assert heads == ["part", "trained M", "frozen M", "total M"]
    assert [name for name, *_ in parts] == ["backbone", "heads"]
    assert float(whole[3]) == pytest.approx(sum(float(part[3]) for part in parts), abs=0.02)
    assert float(whole[3]) - float(kept[3]) == pytest.approx(2000 * 512 / 1e6, abs=0.02)


def test_each_value_of_a_varied_key_is_a_row(capsys):
    words = ["--vary", "MODEL.BACKBONE.DEPTH", "18x", "34x", "MODEL.BACKBONE.LAST_STRIDE", "2"]
    words += ["--vary", "MODEL.HEADS.POOL_LAYER", "GlobalAvgPool"]
    args = model_summary.parse(["--config-file", SMOKE, *words])
    assert args.opts == ["MODEL.BACKBONE.LAST_STRIDE", "2"]
    _, _, *rows = table_of(capsys, *words)
    assert [name for name, *_ in rows] == [
        "MODEL.BACKBONE.DEPTH 18x",
        "MODEL.BACKBONE.DEPTH 34x",
        "MODEL.HEADS.POOL_LAYER GlobalAvgPool",
    ]
    assert float(rows[1][1]) > float(rows[0][1]) + 9


def test_vary_without_a_value_is_a_mistake(capsys):
    with pytest.raises(SystemExit):
        model_summary.parse(["--config-file", SMOKE, "--vary", "MODEL.BACKBONE.DEPTH"])
    message = "expected --vary KEY VALUE ..., got no value of MODEL.BACKBONE.DEPTH"
    assert message in capsys.readouterr().err
