"""House style that a machine can check: summaries, parameter docs, one assignment per line.

A summary starts with a verb and its object. A parameter doc is a noun phrase that stands alone. A
line assigns one value, unless the values are one thing, such as a size or a range.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "fastreid_ext"

RIDDLE = re.compile(r"(Return what|What)\b")
SECTION = re.compile(r"^(?:Args|Attributes):\n((?: {4}.*\n|\n)+)", re.MULTILINE)
PARAMETER = re.compile(r"^ {4}(\*{0,2}\w+)(?: \(.*?\))?:(.*\n(?: {8}.*\n|\n)*)", re.MULTILINE)
LEANS_ON_OTHERS = re.compile(r"(of|as|whose|likewise|the same)\b", re.IGNORECASE)
FEWEST_WORDS = 4
# Words for the parts of one thing.
ONE_THING = tuple(
    set(words.split())
    for words in (
        "height width depth h w d",
        "row rows column columns",
        "top left bottom right",
        "x y z w u v",
        "i j k",
        "low lowest lower high highest upper",
        "start stop end",
        "first last",
        "mean std var",
        "cos sin cosine sine",
        "numerator denominator",
        "red green blue r g b",
    )
)


def python_files():
    """Map the name of each folder that has a style of its own to rewrite to its files."""
    files = {"ground floor": sorted(PACKAGE.glob("*.py"))}
    packages = [path.parent for path in sorted(PACKAGE.glob("*/__init__.py"))]
    for folder in [*packages, ROOT / "projects", ROOT / "tests", ROOT / "tools"]:
        files[folder.name] = sorted(folder.rglob("*.py"))
    return files


FILES = python_files()


def findings_in(source):
    """List line and text of everything in ``source`` (code as text) that breaks a rule."""
    findings = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and packs_unrelated_values(node):
            findings.append((node.lineno, f"one assignment per line: {ast.unparse(node)}"))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            line = getattr(node, "lineno", 1)
            findings += [(line, text) for text in riddles_in(ast.get_docstring(node) or "")]
    return sorted(findings)


def riddles_in(docstring):
    """List what is wrong with the summary and the parameter docs of a docstring."""
    if RIDDLE.match(docstring):
        yield f"a summary starts with a verb and its object: {docstring.splitlines()[0]}"
    for section in SECTION.finditer(docstring + "\n"):
        for entry in PARAMETER.finditer(section[1]):
            words = entry[2].split()
            if len(words) < FEWEST_WORDS or LEANS_ON_OTHERS.match(words[0]):
                yield f"a parameter doc stands alone: {entry[1]}: {' '.join(words)}"


def packs_unrelated_values(node):
    """Tell whether an assignment fills several names with values that are not one thing."""
    target = node.targets[0]
    if not isinstance(target, ast.Tuple) or not isinstance(
        node.value, ast.Tuple | ast.GeneratorExp
    ):
        return False
    return not (is_swap(target, node.value) or is_one_thing(target))


def is_swap(target, value):
    """Tell whether the same expressions stand on both sides: ``a, b = b, a``."""
    if not isinstance(value, ast.Tuple):
        return False
    return {ast.unparse(part) for part in target.elts} == {ast.unparse(part) for part in value.elts}


def is_one_thing(target):
    """Tell whether names are parts of one thing: a size's ``x0, y0``, a shape's ``B, C``."""
    names = [ast.unparse(part).rpartition(".")[2] for part in target.elts]
    if all(re.fullmatch(r"[A-Z]", name) for name in names):
        return True
    words = [set(re.findall(r"[a-z]+", name.lower())) for name in names]
    return any(all(thing & name for name in words) for thing in ONE_THING)


@pytest.mark.parametrize("folder", FILES)
def test_prose_of_folder(folder):
    findings = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in FILES[folder]
        for line, text in findings_in(path.read_text())
    ]
    if findings:
        pytest.fail(f"{len(findings)} findings\n" + "\n".join(findings), pytrace=False)


@pytest.mark.parametrize(
    "line",
    [
        "rows, columns = round(a), round(b)",
        "top_left, bottom_right = a[0], a[1]",
        "B, C = 4, 3",
        "first, second = second, first",
        "mean, std = (f(x) for x in y)",
        "values, indices = x.topk(2)",
        "*outputs, targets = arguments",
    ],
)
def test_findings_spare_one_thing(line):
    assert not findings_in(line)


CODE_WITH_PARAMETER = """
def run(task):
    '''Run a task.

    Args:
        task{}
    '''
"""


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("names, losses = keys.NAME, {}", "one assignment per line: "),
        ("self.host, self.terms = host, terms", "one assignment per line: "),
        ("alone, parts = (f(x) for x in y)", "one assignment per line: "),
        ("def f(): 'Return what is so.'", "a summary starts with a verb and its object: "),
        (CODE_WITH_PARAMETER.format(": of it."), "a parameter doc stands alone: task: of it."),
        (CODE_WITH_PARAMETER.format(": of all the work."), "a parameter doc stands alone: "),
        (CODE_WITH_PARAMETER.format(" (Task): the\n            work."), "task: the work."),
    ],
)
def test_findings_name_what_breaks_a_rule(code, text):
    ((_, found),) = findings_in(code)
    assert text in found
