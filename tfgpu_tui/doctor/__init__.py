"""The environment without importing TensorFlow: will the GPU be used, and if not, why and what to do.

`probe.py` looks at it from inside the script's interpreter, because the tool may live in another environment; the
verdict is a pure function of what it found (`diagnose.gpu_causes`, `checks`). It may import `diagnose`, `report` and
`core`; the verb `doctor` uses it, and the supervisor's `preflight`, which tells the answer as an event.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tfgpu_tui.core import requirements
from tfgpu_tui.core.rows import Facts
from tfgpu_tui.diagnose import gpu_causes
from tfgpu_tui.diagnose.finding import Finding
from tfgpu_tui.diagnose.ranking import ranked
from tfgpu_tui.doctor.checks import Check, checks
from tfgpu_tui.report.plain import finding_lines

PROBE = Path(__file__).with_name("probe.py")
PROBE_TIMEOUT_S = 20.0
QUICK_TIMEOUT_S = 5.0

__all__ = ["Check", "ProbeError", "Result", "examine", "judge", "library_folders", "probe_command", "run"]


class ProbeError(Exception):
    """The interpreter could not be examined; the text is half a sentence that says why."""


@dataclass(frozen=True)
class Result:
    """What `tfgpu-tui doctor` says. Exit code 0: a GPU will be used; 1: it won't, and why; 2: can't tell."""

    verdict: str
    exit_code: int
    findings: list[Finding] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    def text(self) -> str:
        """The verdict in one line, the findings with their next step, then every check with its evidence."""
        signs = {True: "ok", False: "no", None: "–"}
        out = [self.verdict, ""]
        for finding in self.findings:
            out += [*finding_lines(finding), ""]
        width = max((len(c.name) for c in self.checks), default=0)
        for check in self.checks:
            out.append(f"  {signs[check.ok]:<3} {check.name:<{width}}  {check.detail}")
            if check.fix:
                out.append(f"      {'':<{width}}  fix: {check.fix}")
        return "\n".join(out)

    def as_json(self) -> dict[str, Any]:
        """`{"verdict", "findings", "checks", …}` as documented for `doctor --json`."""
        return {
            "schema": 1,
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "findings": [asdict(f) for f in self.findings],
            "checks": [asdict(c) for c in self.checks],
        }


def probe_command(python: str, quick: bool = False, root: str | None = None) -> list[str]:
    """The command whose stdout are the facts of the interpreter `python` as JSON."""
    return [python, str(PROBE), *(["--quick"] if quick else []), *(["--root", root] if root else [])]


def examine(python: str, quick: bool = False, root: str | None = None) -> Facts:
    """The facts of that interpreter's environment, as probe.py says them; `quick` leaves the CUDA driver out. Raises
    ProbeError."""
    limit_s = QUICK_TIMEOUT_S if quick else PROBE_TIMEOUT_S
    try:
        done = subprocess.run(
            probe_command(python, quick, root),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=limit_s,
            check=False,
        )
    except OSError as error:
        raise ProbeError(f"{python} could not be started ({error.strerror})") from error
    except subprocess.TimeoutExpired:
        raise ProbeError(f"no answer within {limit_s:.0f} s; a broken NVIDIA driver hangs like that") from None
    try:
        facts: Facts = json.loads(done.stdout)
    except (ValueError, RecursionError):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise ProbeError(f"the checks ended with {done.returncode} in {python}: {last}") from None
    return facts


def library_folders(python: str) -> list[str]:
    """What LD_LIBRARY_PATH needs so that this interpreter's TensorFlow finds the CUDA libraries that are installed as
    packages beside it; empty where nothing is missing, or where that can't be told."""
    try:
        return gpu_causes.library_folders(examine(python, quick=True))
    except ProbeError:
        return []


def run(python: str, root: str | None = None) -> Result:
    """Examines the interpreter `python`. Never raises: what can't be examined is a verdict with exit code 2."""
    try:
        return judge(examine(python, root=root))
    except ProbeError as error:
        return Result(f"Can't tell: {error}.", 2)


def judge(facts: Facts) -> Result:
    """The verdict on what the probe found (pure)."""
    findings = ranked(gpu_causes.causes(facts))
    boxes = gpu_causes.gpus_in_box(facts)
    if not boxes:
        findings.append(gpu_causes.no_gpu({"pci": facts.get("pci"), "devices": facts.get("devices")}))
    listed = checks(facts, findings)
    half = (facts.get("incomplete") or {}).get("tensorflow")
    if half:
        lack = requirements.lack("tensorflow", half)
        return Result(f"Can't tell: TensorFlow is half installed: {lack}.", 2, findings, listed)
    if facts.get("tensorflow_dir") is None:
        return Result(f"Can't tell: {facts['executable']} has no TensorFlow.", 2, findings, listed)
    build = facts.get("build")
    if build is None:
        return Result("Can't tell: this TensorFlow's build_info could not be read.", 2, findings, listed)
    if build.get("is_rocm_build"):
        return Result("Can't tell: this TensorFlow is for AMD GPUs (ROCm).", 2, findings, listed)
    critical = [f for f in findings if f.severity == "critical"]
    count = (facts.get("cuda_driver") or {}).get("count") or 0
    if not boxes:
        return Result("TensorFlow will not use a GPU: there is no NVIDIA GPU in this machine.", 1, findings, listed)
    if critical:
        return Result(f"TensorFlow will not use a GPU: {critical[0].title}.", 1, findings, listed)
    if not count:
        return Result("TensorFlow will not use a GPU: the CUDA driver shows none.", 1, findings, listed)
    return Result(f"TensorFlow will use {count} GPU(s).", 0, findings, listed)
