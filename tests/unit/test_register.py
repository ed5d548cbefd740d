"""The register of findings: it holds what the code can say, and nothing else; its texts, its demos, its page."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tfgpu_tui.cli.command_line import main
from tfgpu_tui.core import knobs
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose import diagnose, explain
from tfgpu_tui.diagnose.finding import Finding
from tfgpu_tui.diagnose.ranking import ranked
from tfgpu_tui.diagnose.register import ENDINGS, FAMILIES, REGISTER, Entry
from tfgpu_tui.runs import rundir
from tfgpu_tui.runs.journal import JournalReader
from tools import findings_doc

ROOT = Path(__file__).parents[2]
ENTRIES = list(REGISTER.values())
ON_80_COLUMNS = 68
"""Of a line of code: what the page over the smallest usual screen leaves it."""
each = pytest.mark.parametrize("entry", ENTRIES, ids=list(REGISTER))


# -- what the code can emit


def emitted(tree: ast.Module) -> Iterator[str]:
    """The ids of all findings that a module makes; an assertion fails where one can't be told."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            for call in calls_of("Finding", function):
                given = [word.value for word in call.keywords if word.arg == "id"]
                if given:  # else it is made anew of a report
                    yield from values(given[0], function, tree)


def calls_of(name: str, tree: ast.AST) -> list[ast.Call]:
    called = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in called if isinstance(call.func, ast.Name) and call.func.id == name]


def values(node: ast.expr, function: ast.FunctionDef, tree: ast.Module) -> list[str]:
    """The strings that an expression may be: itself, an argument of the function in each of its calls, or a column of
    the table that a loop goes through."""
    if isinstance(node, ast.Name):
        arguments = [argument.arg for argument in function.args.args]
        if node.id in arguments:
            at = arguments.index(node.id)
            return [text(call.args[at]) for call in calls_of(function.name, tree)]
        for loop in ast.walk(function):
            if isinstance(loop, ast.For) and isinstance(loop.target, ast.Tuple) and isinstance(loop.iter, ast.Name):
                names = [part.id for part in loop.target.elts if isinstance(part, ast.Name)]
                if node.id in names:
                    return [text(row.elts[names.index(node.id)]) for row in table(loop.iter.id, tree)]
    return [text(node)]


def table(name: str, tree: ast.Module) -> list[ast.Tuple]:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            value = getattr(node, "value", None)
            assert isinstance(value, ast.Tuple)
            return [row for row in value.elts if isinstance(row, ast.Tuple)]
    raise AssertionError(f"there is no table {name}")


def text(node: ast.expr) -> str:
    assert isinstance(node, ast.Constant) and isinstance(node.value, str), f"which id is {ast.unparse(node)}?"
    return node.value


def test_it_holds_every_finding_that_the_code_makes_and_no_other() -> None:
    made = {name for path in (ROOT / "tfgpu_tui").rglob("*.py") for name in emitted(ast.parse(path.read_text()))}
    assert made == set(REGISTER)


def test_an_id_stands_once() -> None:
    listed = [entry.id for _, entries in FAMILIES.values() for entry in entries]
    assert len(listed) == len(set(listed)) == len(REGISTER)


def test_what_ended_the_run_comes_first_among_its_severity() -> None:
    assert {"run.failed", "run.killed", "memory.oom"} <= ENDINGS
    costly = Finding("input.bound", "critical", "", "", share=0.9)
    end, info = Finding("run.failed", "critical", "", ""), Finding("run.failed", "info", "", "")
    assert ranked([info, costly, end]) == [end, costly, info]


# -- what it says of each


@each
def test_an_entry_is_whole(entry: Entry) -> None:
    assert re.fullmatch(r"[a-z]+\.[a-z0-9_]+", entry.id)
    assert entry.means and not entry.means.endswith(".")
    assert all((entry.seen, entry.why, entry.signal, entry.steps, entry.harmless))
    assert knobs.parse([knob if not knob.endswith("=") else f"{knob}0" for knob in entry.knobs]).keys() == {
        knob.partition("=")[0] for knob in entry.knobs
    }
    assert entry.demo or entry.demo_note, "a demo, or why there is none"
    for limit in entry.limits:
        assert str(limit) != limit.words and "{" not in str(limit)


@each
def test_a_text_has_the_length_of_a_good_answer_and_fits_80_columns(entry: Entry) -> None:
    shown = explain.text(entry, 80)
    assert 150 <= len(shown.split()) <= 600
    assert max(map(len, shown.split("\n"))) <= 80
    blocks = [block for section in explain.sections(entry) for block in section.blocks]
    code = [line for block in blocks if block.kind == "code" for line in block.text.split("\n")]
    assert max(map(len, code), default=0) <= ON_80_COLUMNS
    assert not [block.text for block in blocks if block.kind != "code" and explain.CODE in block.text]
    for other in re.findall(r"(?<![\w/-])(?:gpu|place|dtype|rnn|precision|input|host|memory|run|xla)\.[a-z]\w+", shown):
        assert other in REGISTER or other == "memory.events", f"names {other}"


def test_steps_are_numbered_and_code_keeps_its_indentation() -> None:
    (what_to_do,) = (s for s in explain.sections(REGISTER["input.bound"]) if s.title.startswith("What to do"))
    numbers = [block.number for block in what_to_do.blocks if block.kind == "step"]
    assert numbers == list(range(1, len(REGISTER["input.bound"].steps) + 1))
    assert any("\n    .map(load" in block.text for block in what_to_do.blocks if block.kind == "code")


# -- its demos


def demo_tests() -> list[tuple[str, set[str]]]:
    """Each test of the demos: its source, and the strings in it."""
    found = []
    for path in (ROOT / "tests" / "e2e").glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                parts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
                found.append((ast.unparse(node), {part for part in parts if isinstance(part, str)}))
    return found


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.demo], ids=lambda e: e.id)
def test_its_demo_shows_it(entry: Entry) -> None:
    assert entry.demo is not None
    path = ROOT / entry.demo.split()[-1]
    assert path.is_file()
    if path.suffix == ".jsonl":
        assert entry.id in shown_by(path)
    elif "on a machine with a GPU" not in entry.demo_note:
        tests = [strings for source, strings in demo_tests() if path.name in source or path.stem in strings]
        assert any(entry.id in strings for strings in tests), f"no test of {path.name} looks for it"


def shown_by(recording: Path) -> set[str]:
    """What stands at some time of a recording."""
    state, seen = RunState(), set[str]()
    with JournalReader(rundir.find(str(recording)).journal) as reader:
        for number, event in enumerate(reader):
            state.apply(event)
            if number % 20 == 0:
                seen |= {finding.id for finding in diagnose(state)}
    return seen | {finding.id for finding in diagnose(state)}


def test_every_demo_is_of_a_finding_or_of_a_healthy_run() -> None:
    scripts = {path.name for path in (ROOT / "demo").glob("*.py")} - {"digits.py", "healthy.py", "healthy_loop.py"}
    assert scripts <= {Path(entry.demo.split()[-1]).name for entry in ENTRIES if entry.demo} | {"slow_map.py"}


# -- its page, and the verb


def test_the_page_is_as_the_register() -> None:
    written = findings_doc.PAGE.read_text(encoding="utf-8")
    assert written == findings_doc.page(), "python -m tools.findings_doc writes it anew"


def test_the_page_keeps_what_markdown_would_take() -> None:
    page = findings_doc.page()
    assert r"\*\*kwargs" in page and r"\_\_getitem\_\_" in page
    assert page.count("```") % 2 == 0
    assert "[input.slow_stage](#inputslow_stage)" in page


def test_explain_alone_is_the_list_in_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    for entry in ENTRIES:
        assert any(line.split() == [entry.id, *entry.means.split()] for line in lines)


def test_explain_tells_all_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "input.slow_stage"]) == 0
    out = capsys.readouterr().out
    titles = [section.title for section in explain.sections(REGISTER["input.slow_stage"])]
    assert len(titles) == 7
    for words in (*titles, "num_parallel_calls=tf.data.AUTOTUNE", "--set input=parallel", "judged from 20 steps"):
        assert words in out


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("input.slowstage", "the nearest: input.slow_stage"),
        ("oom", "the nearest: memory.oom"),
        ("INPUT.BOUND", "the nearest: input.bound"),
        ("preallocated", "the nearest: memory.preallocated"),
        ("zzz", "lists them all"),
        ("x" * 5000, "lists them all"),
    ],
)
def test_an_unknown_id_is_one_sentence_with_the_nearest(
    typed: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", typed]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1
    assert told.err.startswith("tfgpu-tui: there is no finding ") and words in told.err


def test_explain_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [one["id"] for one in listed] == list(REGISTER)
    assert main(["explain", "input.bound", "--json"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert one["id"] == "input.bound" and one["family"] == "input" and one["knobs"]
    assert {"words", "code"} == set(one["steps"][0])
    assert {"words": "a warning from 10 % of step time", "value": 0.1} in one["limits"]
