"""Arguments that several tools share, and how a tool begins and ends.

torch, fastreid and fastreid_ext take seconds to import. Tools import them within their functions,
so that ``--help`` and a mistake in a command are answered at once.
"""

import argparse
import inspect
import multiprocessing
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

if multiprocessing.parent_process() is not None:
    # A spawned process imports the tool before anything else: repair fastreid as in its parent.
    import fastreid_ext  # noqa: F401

_SECTIONS = "MODEL|INPUT|DATASETS|DATALOADER|SOLVER|TEST|KD|GENERATION|UNSUPERVISED"
_BEFORE_KEY = "--vary"  # option whose first word is a key
_KEY = re.compile(rf"({_SECTIONS})\.[A-Z][A-Z_0-9.]*|OUTPUT_DIR|SEED|CUDNN_BENCHMARK")


def tool_parser(description: str) -> argparse.ArgumentParser:
    """Build a parser that shows the lines of ``description`` as they are written.

    Args:
        description: docstring of the tool.
    """
    raw = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(description=description, formatter_class=raw)


def add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    function: Callable[..., object],
) -> argparse.ArgumentParser:
    """Add a sub-command, whose help is the docstring of its function.

    Args:
        commands: sub-commands of the tool, from ``parser.add_subparsers()``.
        name: word that the user types.
        function: function that does the work, kept as ``args.function``.
    """
    text = inspect.cleandoc(function.__doc__)
    parser = commands.add_parser(
        name,
        help=text.splitlines()[0].rstrip("."),
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(function=function)
    return parser


def add_pairs(parser: argparse.ArgumentParser) -> None:
    """Let a command take KEY VALUE pairs, which :func:`parse_command` reads into ``opts``."""
    parser.add_argument(
        "opts", nargs="*", metavar="KEY VALUE", help="keys of the configuration to change"
    )


def add_checkpoint_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a trained model and a test set, and KEY VALUE pairs."""
    parser.add_argument("--config-file", required=True, help="of the model, as in train_net.py")
    parser.add_argument("--weights", help="checkpoint; default: MODEL.WEIGHTS")
    parser.add_argument("--dataset", help="test set; default: the first of DATASETS.TESTS")
    add_pairs(parser)


def parse_command(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None
) -> argparse.Namespace:
    """Parse options and KEY VALUE pairs, in any order.

    The exit code is 2 for a wrong option, as argparse's, and 1 for a configuration file that does
    not exist.

    Args:
        parser: parser of the tool; pairs are taken if :func:`add_pairs` was called for it or for
            its sub-command.
        arguments: words of the command; by default those of this process.
    """
    words, pairs = split_pairs(sys.argv[1:] if arguments is None else arguments)
    args, others = parser.parse_known_args(words)
    takes_pairs = hasattr(args, "opts")
    if (others and not takes_pairs) or any(word.startswith("-") for word in others):
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    if pairs and not takes_pairs:
        parser.error(f"expected no KEY VALUE pairs, got {' '.join(pairs)}")
    if takes_pairs:
        args.opts = [*args.opts, *others, *pairs]
        if len(args.opts) % 2:
            parser.error(f"expected KEY VALUE pairs, got {' '.join(args.opts)}")
    expect_configuration(getattr(args, "config_file", None))
    return args


def split_pairs(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Take the KEY VALUE pairs out of a command.

    An option of several words (``--targets A B SOLVER.BASE_LR 1e-3``) would else take the pairs
    after it for its own. The key that follows ``--vary`` begins no pair.

    Returns:
        The other words of the command, and the pairs.
    """
    others: list[str] = []
    pairs: list[str] = []
    words = iter(arguments)
    for word in words:
        is_varied = others[-1:] == [_BEFORE_KEY]
        if _KEY.fullmatch(word) and not is_varied:
            pairs += [word, *[value for value in [next(words, None)] if value is not None]]
        else:
            others.append(word)
    return others, pairs


def count(text: str) -> int:
    """Read an argument that is a number of things, at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def shard(text: str) -> tuple[int, int]:
    """Read an argument INDEX/COUNT, which names a share of the work."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not int(match[1]) < int(match[2]):
        raise argparse.ArgumentTypeError(f"expected INDEX/COUNT with INDEX < COUNT, got {text}")
    return int(match[1]), int(match[2])


def run(main: Callable[[argparse.Namespace], int | None], args: argparse.Namespace) -> None:
    """Run a tool whose command has been parsed; a user's mistake ends it with one message.

    Args:
        main: function of the tool that does the work and returns the exit code, or None for 0.
        args: result of :func:`parse_command` for this tool.
    """
    from fastreid_ext.command_line import short_errors

    with short_errors():
        exit_code = main(args)
    if exit_code:
        sys.exit(exit_code)


def expect_configuration(named: str | Path | Sequence[Path] | None) -> None:
    """End the tool if a configuration file does not exist, before seconds of imports."""
    files = [named] if isinstance(named, str | Path) else named or []
    for file in map(str, files):
        if file and "://" not in file and not Path(file).expanduser().is_file():
            print(f"error: no configuration file at {file}; ours are in configs/", file=sys.stderr)
            sys.exit(1)
