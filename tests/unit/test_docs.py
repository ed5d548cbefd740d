"""What the docs name is there: each row of docs/survival.md stands for a test that can be run."""

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
