"""Parsing of the arguments that tools share, and refusals."""

import argparse
from pathlib import Path
from typing import get_args

import pytest
from fastreid.config import get_cfg
from fastreid.engine import default_argument_parser

import command
import convert_weights
import demo
import evaluate_corruption
import evaluation_matrix
import render_persons
import train_net
from fastreid_ext.engine.corruption_run import DEFAULT_REPEATS
from fastreid_ext.engine.matrix_plan import ALL
from fastreid_ext.evaluation.corruption.two_modalities import Asked
from fastreid_ext.modeling.pretrained.normalisation import KNOWN
from fastreid_ext.rendered.difficulty import DIFFICULTIES
from fastreid_ext.rendered.domains import DOMAINS

CONFIG = str(Path(__file__).parents[2] / "configs" / "demo.yml")


@pytest.fixture
def parser():
    parser = command.tool_parser("Text.")
    parser.add_argument("--targets", nargs="+", default=[])
    parser.add_argument("--config-file", default="")
    parser.add_argument("--resume", action="store_true")
    command.add_pairs(parser)
    return parser


def test_pairs_after_an_option_of_several_words_are_not_its_own():
    words = ["--targets", "A+B", "MODEL.yml", "SOLVER.BASE_LR", "1e-3", "SEED", "1"]
    assert command.split_pairs(words) == (words[:3], words[3:])
    assert command.split_pairs(words[:3]) == (words[:3], [])
    words = ["--stages", "filter", "OUTPUT_DIR", "logs/generated", "SEED", "1"]
    assert command.split_pairs(words) == (words[:2], words[2:])


def test_pairs_and_options_come_in_any_order(parser):
    words = ["SOLVER.BASE_LR", "-1", "--targets", "A", "B", "SEED", "1", "--resume"]
    args = command.parse_command(parser, words)
    assert args.opts == ["SOLVER.BASE_LR", "-1", "SEED", "1"]
    assert (args.targets, args.resume) == (["A", "B"], True)


def test_a_misspelt_section_is_left_to_the_configuration(parser):
    args = command.parse_command(parser, ["--config-file", CONFIG, "MODLE.DEVICE", "cpu"])
    assert args.opts == ["MODLE.DEVICE", "cpu"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--resme"], 2, "unrecognized arguments: --resme"),
        (["SEED"], 2, "expected KEY VALUE pairs, got SEED"),
        (["--config-file", "none.yml"], 1, "error: no configuration file at none.yml; ours are"),
    ],
)
def test_mistakes_end_the_tool(parser, words, code, message, capsys):
    with pytest.raises(SystemExit) as end:
        command.parse_command(parser, words)
    assert end.value.code == code
    assert message in capsys.readouterr().err


def test_a_command_without_keys_takes_no_pairs(capsys):
    with pytest.raises(SystemExit):
        command.parse_command(command.tool_parser("Text."), ["SEED", "1"])
    assert "expected no KEY VALUE pairs, got SEED 1" in capsys.readouterr().err


def test_every_section_of_the_configuration_is_a_key():
    cfg = get_cfg()
    keys = [f"{key}.X" if hasattr(value, "items") else key for key, value in cfg.items()]
    words = [word for key in keys for word in (key, "1")]
    assert command.split_pairs(words) == ([], words)


def test_shards_are_read(capsys):
    words = ["--config-file", CONFIG, "--output", "out", "--targets", "A", "B", "--shard"]
    args = evaluation_matrix.parse([*words, "1/3", "MODEL.DEVICE", "cpu", "SEED", "1"])
    assert args.targets == ["A", "B"]
    assert args.opts == ["MODEL.DEVICE", "cpu", "SEED", "1"]
    assert args.shard == (1, 3)
    for wrong in ("3/3", "x", "1", "-1/3"):
        with pytest.raises(SystemExit):
            evaluation_matrix.parse([*words[:-1], f"--shard={wrong}"])
        expected = f"expected INDEX/COUNT with INDEX < COUNT, got {wrong}"
        assert expected in capsys.readouterr().err


def test_train_net_has_the_options_of_fastreid():
    theirs = vars(default_argument_parser().parse_args([]))
    ours = vars(train_net.parse([]))
    changed = {"opts": [], "dist_url": "auto"}
    assert ours == theirs | changed


def test_choices_are_those_of_the_package():
    """They are written out in the tools, which would else import the package before parsing."""
    assert tuple(DOMAINS) == render_persons.DOMAINS
    assert tuple(DIFFICULTIES) == render_persons.DIFFICULTIES == demo.DIFFICULTIES
    assert {*evaluate_corruption.SIDES, ""} == set(get_args(Asked))
    assert tuple(sorted(KNOWN)) == convert_weights.NORMALISATIONS
    words = ["--config-file", CONFIG, "--output", "out"]
    assert evaluate_corruption.parse(words).repeats == DEFAULT_REPEATS
    assert evaluation_matrix.parse(words).settings == [ALL]


def test_commands_show_their_docstring(capsys):
    def sing(args: argparse.Namespace) -> None:
        """Sing a song.

        Loudly.
        """

    parser = command.tool_parser("Text.")
    command.add_command(parser.add_subparsers(), "sing", sing)
    with pytest.raises(SystemExit):
        command.parse_command(parser, ["--help"])
    assert "sing      Sing a song\n" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        command.parse_command(parser, ["sing", "--help"])
    assert "Sing a song.\n\nLoudly.\n" in capsys.readouterr().out
