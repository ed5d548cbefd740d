"""What the docs name is there: each row of docs/survival.md is a test, each stop on the way of a step a function."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

import pytest

import tfgpu_tui
from tfgpu_tui.cli import arguments, reading, table
from tfgpu_tui.core.state import RunState
from tfgpu_tui.report import compare
from tfgpu_tui.runs import listing
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.ui import keys

ROOT = Path(__file__).parents[2]


def test_each_test_that_the_faults_name_is_there() -> None:
    scripts = list(ROOT.glob("tests/*/test_*.py"))
    tests = {name for path in scripts for name in re.findall(r"def (test_\w+)", path.read_text())}
    told = (ROOT / "docs" / "survival.md").read_text()
    files = set(re.findall(r"\btest_\w+\.py", told))
    named = set(re.findall(r"\btest_\w+\b(?!\.py)", told)) - {name.removesuffix(".py") for name in files}
    assert len(named) > 50 and named <= tests
    assert files <= {path.name for path in scripts}


def test_each_stop_on_the_way_of_a_step_is_there() -> None:
    told = (ROOT / "CONTRIBUTING.md").read_text().partition("## The way of a step")[2].partition("## Words")[0]
    stops = re.findall(r"^\| ([\w/]+\.py) \| (.*?) \|", told, re.MULTILINE)
    stops += re.findall(r"`([\w/]+\.py)` `(\w+)`", told)
    for path, names in stops:
        source = (ROOT / "tfgpu_tui" / path).read_text()
        for name in re.findall(r"\w+", names):
            assert re.search(rf"\b(def|class) {name}\b", source), f"{path} has no {name}"
    assert len(stops) > 12


PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks" / "README.md"])


def anchors(page: Path) -> set[str]:
    """What a link may name in a page, as GitHub makes it of the headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^ *```.*?^ *```|`[^`\n]*`", "", page.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        led = (page.parent / name).resolve() if name else page
        assert led.exists(), f"{page.name}: {target}"
        assert ROOT / "docs" in led.parents or page.parent != ROOT / "docs", f"{target}: not on the site"
        assert not anchor or anchor in anchors(led), f"{page.name}: {target}"


def test_each_page_is_in_the_sites_navigation() -> None:
    told = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2].partition("\nvalidation:")[0]
    assert sorted(re.findall(r": (\w+\.md)$", told, re.M)) == sorted(page.name for page in ROOT.glob("docs/*.md"))


def test_the_site_is_built_strictly(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="the extra `docs` is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
    assert (tmp_path / "findings.html").is_file()


def test_the_knobs_page_is_of_today() -> None:
    command = [sys.executable, "-m", "tools.knobs_page", "--check"]
    assert subprocess.run(command, cwd=ROOT).returncode == 0


def test_man_page_and_completions_are_what_the_parser_says(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools.share", "--check"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "HOME": str(tmp_path)})
    assert said.returncode == 0, said.stdout + said.stderr


def test_each_key_stands_in_the_guide() -> None:
    told = (ROOT / "docs" / "screen.md").read_text()
    names = told.partition("\n## Your own keys")[2].partition("```toml")[2].partition("```\n")[2]
    assert {key.name for key in keys.ALL} == set(re.findall(r"`(\w+)`", names))
    of_keys = told.partition("\n## Keys")[2].partition("\n## ")[0]
    written = {*re.findall(r"`([^`]+)`", of_keys), *"12345678", "Esc"}  # `1` … `9`; Esc leaves whatever is open
    assert not {key.label for key in keys.ALL} - written


def test_each_command_stands_in_the_quick_start() -> None:
    told = (ROOT / "docs" / "index.md").read_text()
    assert not [name for name in table.VERBS if not re.search(rf"tfgpu-tui {name}\b|`{name}\b", told)]


def test_each_option_of_the_docs_is_one() -> None:
    """Behind the tool's name, up to the script that it runs."""
    options = {word for parser in (arguments.options_parser(), *map(_parser, table.VERBS)) for word in _words(parser)}
    for page in PAGES:
        for line in re.findall(r"tfgpu-tui((?: +(?![\w./]+\.py\b|-m )[^\s`|#]+)*)", page.read_text()):
            assert set(re.findall(r"(?<= )--[a-z][a-z-]*", line)) <= options, f"{page.name}: {line}"


def _parser(verb: str) -> ArgumentParser:
    parser = ArgumentParser()
    table.VERBS[verb].arguments(parser)
    return parser


def _words(parser: ArgumentParser) -> list[str]:
    return [word for action in parser._actions for word in action.option_strings]


RECORDED = sorted((ROOT / "demo" / "recordings").glob("*.jsonl"))


@pytest.mark.parametrize("recording", RECORDED, ids=lambda path: str(path.stem))
def test_each_field_of_a_report_stands_in_its_page(recording: Path) -> None:
    """Of its parts and of their rows; deeper, most of a name says what it is."""
    written = set(re.findall(r"\w+", (ROOT / "docs" / "report.md").read_text()))
    report = reading.told(RunDir(recording.parent, recording.name)).built()
    missing = {
        f"{part}.{name}"
        for part, content in report.items()
        if part not in ("unknown", "schema")
        for row in (content if isinstance(content, list) else [content or {}])
        for name in (part, *row)
        if name not in written
    }
    assert not missing


def test_each_field_of_the_lists_for_scripts_stands_in_its_page() -> None:
    written = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "report.md").read_text()))
    run = listing.RunSummary("id", [], "ended", 0, None, 0.0, 1.0, ROOT)
    assert not listing.as_json(run).keys() - written
    assert not compare.as_json(RunState(), RunState()).keys() - written


def test_recipe_and_citation_are_of_this_version() -> None:
    recipe, citation = (ROOT / "recipe" / "recipe.yaml").read_text(), (ROOT / "CITATION.cff").read_text()
    assert f'version: "{tfgpu_tui.__version__}"' in recipe and f"version: {tfgpu_tui.__version__}\n" in citation
    assert f"## {tfgpu_tui.__version__} " in (ROOT / "CHANGELOG.md").read_text()
    needed = (ROOT / "pyproject.toml").read_text().partition("\ndependencies = [")[2].partition("\n]")[0]
    wanted = {line.partition(";")[0] for line in re.findall(r'^ +"(.*)",$', needed, re.M)}
    asked = recipe.partition("\n  run:\n")[2].partition("\n\n")[0]
    assert {line.replace(" ", "") for line in re.findall(r"- (?!python |__)(.*)", asked)} == wanted
