"""The environment without importing TensorFlow: will the GPU be used, and if not, why and what to do.

The checks run in the script's interpreter (`PROBE` below, standard library only, a fraction of a second) because the
tool may live in another environment. The verdict is then a pure function of what the probe found.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, dataclass, field
from typing import Any

from tfgpu_tui.diagnose.finding import Finding, ranked
from tfgpu_tui.diagnose.gpu import install_gpu_build
from tfgpu_tui.plain import finding_lines

PROBE_TIMEOUT_S = 20.0

# Runs in the script's interpreter. build_info.py is generated Python that holds one dictionary; libtensorflow_framework
# opens the CUDA libraries by these sonames (CUDA 12 builds; TF 2.16 has cudnn 8). cuInit runs here, in a process of its
# own, because it may hang or crash with a broken driver.
PROBE = r"""
import ctypes, glob, importlib.metadata as md, importlib.util as iu, json, mmap, os, re, sys
out = {"python": sys.version.split()[0], "executable": sys.executable, "prefix": sys.prefix}
def version(name):
    try: return md.version(name)
    except md.PackageNotFoundError: return None
names = ("tensorflow", "tensorflow-cpu", "tensorflow-gpu", "tf-nightly", "keras", "tf_keras", "numpy")
out["distributions"] = {n: v for n in names if (v := version(n))}
spec = iu.find_spec("tensorflow")
root = os.path.dirname(spec.origin) if spec and spec.origin else None
out["tensorflow_dir"] = root
if root:
    try:
        with open(os.path.join(root, "python", "platform", "build_info.py")) as f:
            found = re.search(r"build_info\s*=\s*(.*)", f.read(), re.S)
        space = {}
        exec("import collections\nbuild_info = " + found.group(1), space)
        out["build"] = {k: list(v) if isinstance(v, (list, tuple)) else v for k, v in space["build_info"].items()}
    except Exception as e:
        out["build_error"] = "%s: %s" % (type(e).__name__, e)
cuda = str((out.get("build") or {}).get("cuda_version") or "")
cudnn = str((out.get("build") or {}).get("cudnn_version") or "")
major = cuda.split(".")[0] or "12"
so = {"cudart": major, "cublas": major, "cublasLt": major, "cufft": "11", "cusolver": "11", "cusparse": "12",
      "cudnn": cudnn.split(".")[0] or "9"}
out["libraries"] = {}
if (out.get("build") or {}).get("is_cuda_build"):
    packages = os.path.dirname(root)
    for name, number in so.items():
        soname = "lib%s.so.%s" % (name, number)
        wheel = glob.glob(os.path.join(packages, "nvidia", "*", "lib", soname))
        try: ctypes.CDLL(soname); loads = True
        except OSError: loads = False
        out["libraries"][name] = {"soname": soname, "loader": loads, "wheel": wheel[0] if wheel else None}
    try:
        with open(os.path.join(root, "libtensorflow_framework.so.2"), "rb") as f:
            image = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        runpath = re.search(rb"\$ORIGIN/[^\0]{0,4000}?nvidia/[^\0]*", image)
        out["runpath"] = runpath.group(0).decode("ascii", "replace") if runpath else ""
    except OSError: out["runpath"] = None
telling = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "TF_FORCE_GPU_ALLOW_GROWTH",
           "TF_GPU_ALLOCATOR", "TF_XLA_FLAGS", "KERAS_BACKEND", "SLURM_JOB_GPUS")
out["env"] = {k: os.environ[k] for k in telling if k in os.environ}
out["devices"] = len(glob.glob("/dev/nvidia[0-9]*"))
pci = 0
for path in glob.glob("/sys/bus/pci/devices/*/vendor"):
    try:
        with open(path) as f, open(os.path.join(os.path.dirname(path), "class")) as c:
            pci += f.read().strip() == "0x10de" and c.read().startswith("0x03")
    except OSError: pass
out["pci"] = pci
try:
    with open("/proc/driver/nvidia/version") as f: out["module"] = f.readline().strip()
except OSError: out["module"] = None
driver = {}
try: cu = ctypes.CDLL("libcuda.so.1")
except OSError as e: driver["error"] = str(e)
else:
    driver["init"] = cu.cuInit(0)
    number = ctypes.c_int()
    if cu.cuDriverGetVersion(ctypes.byref(number)) == 0:
        driver["cuda"] = "%d.%d" % (number.value // 1000, number.value % 1000 // 10)
    if driver["init"]:
        text = ctypes.c_char_p()
        cu.cuGetErrorName(driver["init"], ctypes.byref(text))
        driver["error"] = (text.value or b"").decode()
    else:
        cu.cuDeviceGetCount(ctypes.byref(number))
        driver["count"] = number.value
        driver["capabilities"] = []
        for i in range(number.value):
            a, b = ctypes.c_int(), ctypes.c_int()
            cu.cuDeviceGetAttribute(ctypes.byref(a), 75, i)
            cu.cuDeviceGetAttribute(ctypes.byref(b), 76, i)
            driver["capabilities"].append([a.value, b.value])
out["cuda_driver"] = driver
print(json.dumps(out))
"""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `ok` is None where it could not be told, or does not matter here."""

    name: str
    ok: bool | None
    detail: str


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
        out += [f"  {signs[c.ok]:<3} {c.name:<{width}}  {c.detail}" for c in self.checks]
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


def run(python: str) -> Result:
    """Examines the interpreter `python`. Never raises: what can't be examined is a verdict with exit code 2."""
    try:
        done = subprocess.run(
            [python, "-c", PROBE], capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False
        )
        found = json.loads(done.stdout)
    except OSError as error:
        return Result(f"Can't tell: {python} could not be started ({error.strerror}).", 2)
    except subprocess.TimeoutExpired:
        return Result(
            f"Can't tell: no answer within {PROBE_TIMEOUT_S:.0f} s; a broken NVIDIA driver hangs like that.",
            2,
        )
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return Result(f"Can't tell: the checks ended with {done.returncode} in {python}: {last}", 2)
    return judge(found)


def judge(found: dict[str, Any]) -> Result:
    """The verdict on what the probe found (pure)."""
    checks = _checks(found)
    findings = ranked(_findings(found))
    blocking = [f for f in findings if f.severity == "critical"]
    if found.get("tensorflow_dir") is None:
        return Result(f"Can't tell: {found['executable']} has no TensorFlow.", 2, findings, checks)
    if found.get("build") is None:
        return Result("Can't tell: this TensorFlow's build_info could not be read.", 2, findings, checks)
    if blocking:
        return Result(f"TensorFlow will not use a GPU: {blocking[0].title}.", 1, findings, checks)
    if not (found["cuda_driver"].get("count") or 0):
        reason = findings[0].title if findings else "no GPU was found"
        return Result(f"TensorFlow will not use a GPU: {reason}.", 1, findings, checks)
    return Result(f"TensorFlow will use {found['cuda_driver']['count']} GPU(s).", 0, findings, checks)


def _checks(found: dict[str, Any]) -> list[Check]:
    build, driver = found.get("build") or {}, found["cuda_driver"]
    boxes = max(found["devices"], found["pci"])
    distributions = ", ".join(f"{k} {v}" for k, v in found["distributions"].items())
    out = [
        Check("interpreter", None, f"python {found['python']}, {found['executable']}"),
        Check("packages", bool(found["tensorflow_dir"]), distributions or "none of TensorFlow's"),
    ]
    if build:
        cuda = build.get("is_cuda_build")
        wants = (
            f"CUDA {build.get('cuda_version', '?')}, cuDNN {build.get('cudnn_version', '?')}" if cuda else "CPU only"
        )
        out.append(Check("TensorFlow build", bool(cuda), wants))
    out.append(Check("GPUs in the machine", boxes > 0, f"{found['pci']} on the PCI bus, {found['devices']} under /dev"))
    out.append(Check("kernel module", found["module"] is not None, found["module"] or "not loaded"))
    if "count" in driver:
        caps = ", ".join(f"{a}.{b}" for a, b in driver["capabilities"])
        out.append(
            Check("CUDA driver", True, f"CUDA {driver.get('cuda')}, {driver['count']} GPU(s), capability {caps}")
        )
    else:
        out.append(Check("CUDA driver", False, driver.get("error") or f"cuInit failed ({driver.get('init')})"))
    for library in found["libraries"].values():
        where = library["wheel"] or ("found by the loader" if library["loader"] else "not found")
        out.append(Check(library["soname"], bool(library["wheel"] or library["loader"]), where))
    out += [Check(name, None, value) for name, value in found["env"].items()]
    return out


def _findings(found: dict[str, Any]) -> list[Finding]:
    build, driver = found.get("build"), found["cuda_driver"]
    boxes = max(found["devices"], found["pci"])
    if boxes == 0 and not driver.get("count"):
        return [_no_gpu(found)]
    out: list[Finding] = []
    dists = found["distributions"]
    if build and not build.get("is_cuda_build"):
        both = "tensorflow" in dists and "tensorflow-cpu" in dists
        version = dists.get("tensorflow-cpu") or dists.get("tensorflow")
        out.append(
            Finding(
                id="gpu.cpu_build",
                severity="critical",
                title="tensorflow and tensorflow-cpu are installed over each other"
                if both
                else "this TensorFlow is a CPU build",
                lines=[f"{boxes} NVIDIA GPU(s) in the machine"],
                next=install_gpu_build(version),
                evidence={"distributions": dists},
            )
        )
    visible = found["env"].get("CUDA_VISIBLE_DEVICES")
    if driver.get("count", 0) == 0 and visible is not None:
        out.append(
            Finding(
                id="gpu.hidden",
                severity="critical",
                title=f"CUDA_VISIBLE_DEVICES={visible!r} hides every GPU",
                next="unset CUDA_VISIBLE_DEVICES",
                evidence={"CUDA_VISIBLE_DEVICES": visible},
            )
        )
    elif "count" not in driver:
        out.append(
            Finding(
                id="gpu.driver",
                severity="critical",
                title=f"the NVIDIA driver does not answer: {driver.get('error')}",
                lines=[f"kernel module: {found['module'] or 'not loaded'}"],
                next="Reboot or reload the nvidia module after a driver update; in a container use --gpus all.",
                evidence=driver,
            )
        )
    if build and build.get("is_cuda_build"):
        out += _library_findings(found)
    return out


def _no_gpu(found: dict[str, Any]) -> Finding:
    return Finding(
        id="gpu.none",
        severity="info",
        title="no NVIDIA GPU in this machine",
        lines=["none on the PCI bus, none under /dev, and the CUDA driver lists none"],
        next="Nothing to change here; training runs on the CPU.",
        evidence={"pci": found["pci"], "devices": found["devices"]},
    )


def _library_findings(found: dict[str, Any]) -> list[Finding]:
    libraries: dict[str, dict[str, Any]] = found["libraries"]
    version = found["distributions"].get("tensorflow", "")
    missing = [x["soname"] for x in libraries.values() if not x["loader"] and not x["wheel"]]
    # The loader finds a wheel's library only where TensorFlow's RUNPATH names its folder: 2.21.0 forgot cusolver.
    unreachable = [
        x
        for x in libraries.values()
        if not x["loader"] and x["wheel"] and f"/{x['wheel'].split('/')[-3]}/" not in (found.get("runpath") or "") + "/"
    ]
    out = []
    if missing:
        out.append(
            Finding(
                id="gpu.cuda_libs_missing",
                severity="critical",
                title=f"CUDA libraries are not installed: {', '.join(missing)}",
                next=f'pip install "tensorflow[and-cuda]=={version}"',
                evidence={"missing": missing},
            )
        )
    if unreachable:
        folders = ":".join(sorted({x["wheel"].rsplit("/", 1)[0] for x in unreachable}))
        out.append(
            Finding(
                id="gpu.cuda_libs_not_found",
                severity="critical",
                title=f"installed, but not where TensorFlow looks: {', '.join(x['soname'] for x in unreachable)}",
                next=f"export LD_LIBRARY_PATH={folders}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}",
                evidence={"runpath": found.get("runpath"), "unreachable": [x["wheel"] for x in unreachable]},
            )
        )
    return out
