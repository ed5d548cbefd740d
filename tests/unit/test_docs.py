"""What the docs name is there: each row of docs/survival.md is a test, each stop on the way of a step a function."""

from __future__ import annotations

import re
from pathlib import Path

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
