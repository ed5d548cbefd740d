"""Looks at an interpreter's environment and prints the facts as one JSON object; runs inside that interpreter.

Standard library only, python 3.9 and later; TensorFlow is not imported. Run by its path: `python probe.py [--quick]
[--root FOLDER]`. `--quick` leaves the CUDA driver alone (its start takes as long as the driver likes; the rest takes a
few milliseconds); with `--root` the machine's own files are looked for under that folder instead (fixtures).
"""

from __future__ import annotations

import sys

if not __package__:
    # Not what lies in this folder is what the interpreter should import.
    sys.path[:] = [folder for folder in sys.path if folder != __file__.rpartition("/")[0]]

import importlib.machinery
import json
import os
import re
import struct
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

ROOT = ""
PACKAGES = ("tensorflow", "tensorflow_cpu", "tensorflow_gpu", "tf_nightly", "tf_nightly_cpu", "tensorflow_rocm",
            "keras", "tf_keras", "keras_nightly", "numpy", "torch", "protobuf", "h5py", "ml_dtypes")  # fmt: skip
BUILT_AGAINST = ("numpy", "protobuf", "keras", "h5py", "ml_dtypes")
"""What TensorFlow is built against: another version than it asks for may fail at its import."""
PROVIDERS = {
    # What is imported -> the distributions that bring it.
    "tensorflow": ("tensorflow", "tensorflow_cpu", "tensorflow_gpu", "tf_nightly", "tf_nightly_cpu", "tensorflow_rocm"),
    "keras": ("keras", "keras_nightly"),
}
VARIABLES = (
    "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "LD_LIBRARY_PATH", "LD_PRELOAD", "CUDA_HOME",
    "XLA_FLAGS", "TF_XLA_FLAGS", "TF_FORCE_GPU_ALLOW_GROWTH", "TF_GPU_ALLOCATOR", "TF_GPU_THREAD_MODE",
    "TF_MIN_GPU_MULTIPROCESSOR_COUNT", "TF_USE_LEGACY_KERAS", "KERAS_BACKEND", "NVIDIA_TF32_OVERRIDE",
    "TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "NVIDIA_DRIVER_CAPABILITIES",
)  # fmt: skip
SCHEDULER = ("SLURM_JOB_ID", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "SLURM_GPUS", "SLURM_GPUS_ON_NODE",
             "GPU_DEVICE_ORDINAL", "SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "PBS_JOBID", "LSB_JOBID")  # fmt: skip
CUDA_SONAMES = {
    # The major version of CUDA -> what libtensorflow_framework.so.2 opens (DsoLoader in tsl/platform/default).
    "11": {"cudart": "11.0", "cublas": "11", "cublasLt": "11", "cufft": "10", "cusolver": "11", "cusparse": "11"},
    "12": {"cudart": "12", "cublas": "12", "cublasLt": "12", "cufft": "11", "cusolver": "11", "cusparse": "12"},
    "13": {"cudart": "13", "cublas": "13", "cublasLt": "13", "cufft": "12", "cusolver": "12", "cusparse": "12"},
}
SYSTEM_FOLDERS = ("/lib64", "/usr/lib64", "/lib", "/usr/lib", "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu",
                  "/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu")  # fmt: skip
NVIDIA, DISPLAY = "0x10de", "0x03"


def read(path: str) -> Optional[str]:
    """A file of the machine (`/proc/…`); None where it can't be read."""
    try:
        with open(ROOT + path, errors="replace") as file:
            return file.read()
    except OSError:
        return None


def listed(path: str) -> List[str]:
    """The names in a folder; none where it can't be read."""
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def distributions() -> Dict[str, str]:
    """Installed distributions that matter -> version, by the names of their metadata folders; the first on sys.path
    counts, as in an import."""
    found: Dict[str, str] = {}
    for folder in sys.path:
        for name in listed(folder):
            if not name.endswith((".dist-info", ".egg-info")):
                continue
            project, _, version = name.rpartition(".")[0].partition("-")
            project = re.sub(r"[-.]", "_", project).lower()
            if project in PACKAGES or project.startswith("nvidia_"):
                found.setdefault(project, version)
    return found


class Asked(NamedTuple):
    """One requirement in the metadata of an installed TensorFlow."""

    build: str
    """The distribution that asks, such as `tensorflow_cpu`."""
    project: str
    versions: str
    marker: str


def asked() -> List[Asked]:
    """What the installed TensorFlow asks for, the first on sys.path first."""
    out: List[Asked] = []
    for folder in sys.path:
        for name in listed(folder):
            found = re.match(r"(tensorflow|tensorflow_cpu|tf_nightly|tf_nightly_cpu)-\d.*\.dist-info$", name)
            if found is None:
                continue
            try:
                with open(os.path.join(folder, name, "METADATA"), errors="replace") as file:
                    lines = re.findall(r"^Requires-Dist: ([\w-]+) ?\(?([^;)\n]*)\)?(?: ?; *(.*))?$", file.read(), re.M)
            except OSError:
                continue
            out += [Asked(found[1], project.replace("-", "_").lower(), versions.strip(), marker)
                    for project, versions, marker in lines]  # fmt: skip
    return out


def required(requirements: List[Asked]) -> Dict[str, str]:
    """The NVIDIA packages that TensorFlow's GPU build asks for -> the lowest version, from its extra `and-cuda`."""
    out: Dict[str, str] = {}
    for each in requirements:
        lowest = re.search(r"[>=]=\s*([\d.]+)", each.versions)
        if each.build == "tensorflow" and each.project.startswith("nvidia_") and lowest:
            out.setdefault(each.project, lowest[1])
    return out


def needed(requirements: List[Asked]) -> Dict[str, str]:
    """The packages that TensorFlow is built against -> the versions that it asks for (`<2.0.0,>=1.23.5`)."""
    out: Dict[str, str] = {}
    for each in requirements:
        if each.project in BUILT_AGAINST and each.versions and _holds(each.marker):
            out.setdefault(each.project, each.versions)
    return out


def _holds(marker: str) -> bool:
    """Whether a requirement's marker is about this Python; other markers (extras, platforms) are not about ours."""
    if not marker:
        return True
    found = re.match(r"""python_version *(<=|>=|<|>|==) *["'](\d+)\.(\d+)["']$""", marker.strip())
    if found is None:
        return False
    asked = (int(found[2]), int(found[3]))
    ours = sys.version_info[:2]
    return {"<=": ours <= asked, ">=": ours >= asked, "<": ours < asked, ">": ours > asked, "==": ours == asked}[
        found[1]
    ]


def incomplete() -> Dict[str, Dict[str, Any]]:
    """Those of TensorFlow and Keras of which only a part is there, after an uninstall or an install that broke off. A
    folder without an `__init__.py` still imports, as a namespace package that has nothing in it. Takes some 16 ms."""
    return {name: found for name, brought in PROVIDERS.items() if (found := lacking(name, brought)) is not None}


def lacking(package: str, brought: Tuple[str, ...]) -> Optional[Dict[str, Any]]:
    """What is there of a package, and what is not; None where it is whole, or not there at all."""
    spec = importlib.machinery.PathFinder.find_spec(package)
    hollow = spec is not None and spec.origin is None
    folders = list((spec.submodule_search_locations if spec else None) or ())
    for site in sys.path:
        for name in listed(site):
            project, _, version = name[: -len(".dist-info")].partition("-")
            if not name.endswith(".dist-info") or project.replace(".", "_").lower() not in brought:
                continue
            if spec and not hollow and os.path.join(site, package) not in folders:
                continue  # another one of that name is imported
            files = recorded(os.path.join(site, name, "RECORD"), package)
            missing = [file for file in files if not os.path.exists(os.path.join(site, file))]
            if not missing and not hollow:
                return None
            return {"distribution": project, "version": version, "folder": folders[0] if folders else None,
                    "hollow": hollow, "modules": len(files), "missing": len(missing),
                    "first": min(missing, key=lambda file: (file.count("/"), file), default=None)}  # fmt: skip
    return {"folder": folders[0], "hollow": True} if hollow and folders else None


def recorded(path: str, package: str) -> List[str]:
    """The `__init__.py` of each package in that one, as the RECORD of its distribution lists them."""
    try:
        with open(path, "rb") as file:
            text = b"\n" + file.read()
    except OSError:
        return []
    out, start, end = [], ("%s/" % package).encode(), b"/__init__.py,"
    at = text.find(end)
    while at >= 0:
        name = text[text.rfind(b"\n", 0, at) + 1 : at + len(end) - 1]
        if name.startswith(start):
            out.append(name.decode(errors="replace"))
        at = text.find(end, at + 1)
    return out


def xla_tools(tensorflow: str) -> Dict[str, Optional[str]]:
    """Where XLA finds what it compiles for a GPU with (GetCudaRootCandidates in xla/tsl/platform/cuda_root_path, and
    PATH): None where it does not."""
    site = os.path.dirname(tensorflow)
    flag = re.search(r"--xla_gpu_cuda_data_dir=(\S+)", os.environ.get("XLA_FLAGS", ""))
    roots = [flag.group(1)] if flag else []
    roots += [os.path.join(site, "nvidia", "cuda_nvcc"), os.environ.get("CUDA_HOME", ""), ROOT + "/usr/local/cuda"]
    roots = [root for root in roots if root]
    path = [folder for folder in os.environ.get("PATH", "").split(":") if folder]
    return {
        "ptxas": first_with([os.path.join(root, "bin") for root in roots] + path, "ptxas"),
        "libdevice": first_with([os.path.join(root, "nvvm", "libdevice") for root in roots], "libdevice.10.bc"),
    }


def conda_builds() -> Dict[str, str]:
    """conda's packages of TensorFlow -> build string, such as `cpu_py311h…`."""
    out = {}
    for name in listed(os.path.join(sys.prefix, "conda-meta")):
        package = re.match(r"(tensorflow(?:-base)?)-[^-]+-([^-]+)\.json$", name)
        if package:
            out[package.group(1)] = package.group(2)
    return out


def build_info(tensorflow: str) -> Dict[str, Any]:
    """build_info of tensorflow/python/platform/build_info.py: generated Python with one dictionary. The CPU wheel and
    2.22 have only its booleans. Raises OSError, SyntaxError, …: whatever that file can do wrong."""
    with open(os.path.join(tensorflow, "python", "platform", "build_info.py")) as file:
        source = re.search(r"build_info\s*=\s*(.*)", file.read(), re.S)
    space: Dict[str, Any] = {}
    exec("import collections\nbuild_info = " + (source.group(1) if source else "None"), space)
    return {key: list(v) if isinstance(v, (list, tuple)) else v for key, v in space["build_info"].items()}


def runpath(library: str) -> Optional[List[str]]:
    """The folders that this ELF library's own searches go to (DT_RUNPATH, else DT_RPATH; ld.so(8)), $ORIGIN resolved,
    each once. None where it is no 64-bit little-endian ELF file."""
    with open(library, "rb") as file:
        head = file.read(64)
        if len(head) < 64 or head[:6] != b"\x7fELF\x02\x01":
            return None
        (offset,) = struct.unpack_from("<Q", head, 0x20)
        size, count = struct.unpack_from("<HH", head, 0x36)
        file.seek(offset)
        table = file.read(size * count)
        segments = [struct.unpack_from("<IIQQQQ", table, i * size) for i in range(count)]
        dynamic = next((s for s in segments if s[0] == 2), None)
        if dynamic is None:
            return []
        file.seek(dynamic[2])
        entries = dict(reversed(list(struct.iter_unpack("<QQ", file.read(dynamic[5] // 16 * 16)))))
        where = entries.get(29, entries.get(15))
        if where is None or 5 not in entries:
            return []
        address = entries[5]
        text = next(s[2] + address - s[3] for s in segments if s[0] == 1 and s[3] <= address < s[3] + s[5])
        file.seek(text + where)
        folders = file.read(1 << 18).partition(b"\0")[0].decode(errors="replace")
    origin = os.path.dirname(os.path.realpath(library))
    return list(dict.fromkeys(os.path.normpath(f.replace("$ORIGIN", origin)) for f in folders.split(":") if f))


def loader_cache() -> Dict[str, str]:
    """CUDA's libraries in ld.so.cache: soname -> path."""
    try:
        with open(ROOT + "/etc/ld.so.cache", "rb") as file:
            data = file.read()
    except OSError:
        return {}
    paths = re.findall(rb"(/[^\0]*/(lib(?:cu|nv)[^/\0]*))\0", data)
    return {name.decode(errors="replace"): path.decode(errors="replace") for path, name in reversed(paths)}


def libraries(tensorflow: str, build: Dict[str, Any]) -> Tuple[Dict[str, Dict[str, Any]], Optional[List[str]]]:
    """(library -> where the loader finds it, and which package brings it; TensorFlow's own search path)."""
    major = str(build.get("cuda_version") or "12").split(".")[0]
    wanted = dict(CUDA_SONAMES.get(major, CUDA_SONAMES["12"]))
    wanted["cudnn"] = str(build.get("cudnn_version") or "9").split(".")[0]
    try:
        own = runpath(os.path.join(tensorflow, "libtensorflow_framework.so.2"))
    except (OSError, struct.error, StopIteration):
        own = None
    cache = loader_cache()
    site = os.path.dirname(tensorflow)
    packages = [os.path.join(site, "nvidia", name, "lib") for name in listed(os.path.join(site, "nvidia"))]
    given = [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    out = {}
    for name, number in wanted.items():
        soname = f"lib{name}.so.{number}"
        path, source = None, None
        for folders, kind in ((given, "LD_LIBRARY_PATH"), (own or [], "RUNPATH")):
            path = path or first_with(folders, soname)
            source = source or (kind if path else None)
        if path is None:
            path = cache.get(soname) or first_with([ROOT + folder for folder in SYSTEM_FOLDERS], soname)
            source = "system" if path else None
        out[name] = {"soname": soname, "path": path, "source": source, "package": first_with(packages, soname),
                     "file": os.path.basename(os.path.realpath(path)) if path else None}  # fmt: skip
    return out, own


def first_with(folders: List[str], name: str) -> Optional[str]:
    """The path of that file in the first folder that has it."""
    return next((path for folder in folders if os.path.exists(path := os.path.join(folder, name))), None)


def nvidia_devices() -> Dict[str, Any]:
    """NVIDIA GPUs on the PCI bus and under /dev, and those device files that this user may not open."""
    pci = 0
    for device in listed(ROOT + "/sys/bus/pci/devices"):
        folder = f"/sys/bus/pci/devices/{device}"
        pci += (read(f"{folder}/vendor") or "").strip() == NVIDIA and (read(f"{folder}/class") or "").startswith(
            DISPLAY
        )
    files = [f"/dev/{name}" for name in listed(ROOT + "/dev") if re.fullmatch(r"nvidia(\d+|ctl|-uvm)", name)]
    return {
        "pci": pci,
        "devices": sum(re.search(r"\d+$", file) is not None for file in files),
        "forbidden": [file for file in files if not os.access(ROOT + file, os.R_OK | os.W_OK)],
    }


def kernel_module() -> Optional[str]:
    """The version of the loaded NVIDIA kernel module."""
    found = re.search(r"Kernel Module(?: for \S+)?\s+(\d+(?:\.\d+)+)", read("/proc/driver/nvidia/version") or "")
    return found.group(1) if found else None


def driver_library() -> Dict[str, Optional[str]]:
    """libcuda.so.1 as the loader finds it, and the version in the name of its file."""
    given = [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    path = first_with(given, "libcuda.so.1") or loader_cache().get("libcuda.so.1")
    path = path or first_with([ROOT + folder for folder in (*SYSTEM_FOLDERS, "/usr/lib/wsl/lib")], "libcuda.so.1")
    version = re.search(r"\.so\.(\d+(?:\.\d+)+)$", os.path.realpath(path)) if path else None
    return {"path": path, "version": version.group(1) if version else None}


def container() -> Optional[str]:
    """docker, podman, kubernetes, singularity or another container's name; None outside of one."""
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    for sign, name in (("/.dockerenv", "docker"), ("/run/.containerenv", "podman"), ("/.singularity.d", "singularity")):
        if os.path.exists(ROOT + sign):
            return name
    return (read("/run/systemd/container") or "").strip() or None


def platform() -> Optional[str]:
    """`wsl2` or `jetson` where the GPU is not on the PCI bus."""
    if "microsoft" in (read("/proc/version") or "").lower():
        return "wsl2"
    jetson = os.path.exists(ROOT + "/etc/nv_tegra_release") or "Jetson" in (read("/proc/device-tree/model") or "")
    return "jetson" if jetson else None


def cpus() -> Dict[str, Any]:
    """CPUs of the box, those that this process may use, and its cgroup's quota in CPUs (v2, or v1's own folder)."""
    quota = None
    for line in (read("/proc/self/cgroup") or "").splitlines():
        path = line.split(":", 2)[-1].rstrip("/")
        if not line.startswith("0::"):
            continue
        for folder in (path, ""):
            words = (read(f"/sys/fs/cgroup{folder}/cpu.max") or "").split()
            if quota is None and len(words) == 2 and words[0] != "max":
                quota = int(words[0]) / int(words[1])
    share, period = (read(f"/sys/fs/cgroup/cpu/cpu.cfs_{name}_us") for name in ("quota", "period"))
    if quota is None and share and period and int(share) > 0:
        quota = int(share) / int(period)
    return {"count": os.cpu_count(), "usable": len(os.sched_getaffinity(0)), "quota": quota}


def keras_choice() -> Dict[str, Optional[str]]:
    """Which Keras `tf.keras` will be, and the backend of Keras 3 (environment first, then ~/.keras/keras.json)."""
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    backend = None
    try:
        with open(os.path.join(home, "keras.json")) as file:
            backend = json.load(file).get("backend")
    except (OSError, ValueError, AttributeError):
        pass
    legacy = os.environ.get("TF_USE_LEGACY_KERAS", "").lower() in ("true", "1")
    return {"legacy": "yes" if legacy else "no", "backend": os.environ.get("KERAS_BACKEND") or backend or "tensorflow"}


def cuda_driver() -> Dict[str, Any]:
    """What the CUDA driver says in a process of its own: it may hang or crash where it is broken."""
    import ctypes

    try:
        cu = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return {"error": str(error)}
    out: Dict[str, Any] = {"init": cu.cuInit(0)}
    number = ctypes.c_int()
    if cu.cuDriverGetVersion(ctypes.byref(number)) == 0:
        out["cuda"] = f"{number.value // 1000}.{number.value % 1000 // 10}"
    if out["init"]:
        text = ctypes.c_char_p()
        cu.cuGetErrorName(out["init"], ctypes.byref(text))
        return {**out, "error": (text.value or b"unknown").decode()}
    cu.cuDeviceGetCount(ctypes.byref(number))
    out.update(count=number.value, gpus=list(gpus(cu, number.value)))
    return out


def gpus(cu: Any, count: int) -> Iterator[Dict[str, Any]]:
    """Name and compute capability of each GPU that the driver shows (cuda.h)."""
    import ctypes

    for device in range(count):
        name, major, minor = ctypes.create_string_buffer(128), ctypes.c_int(), ctypes.c_int()
        cu.cuDeviceGetName(name, 128, device)
        cu.cuDeviceGetAttribute(ctypes.byref(major), 75, device)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
        cu.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)
        yield {"name": name.value.decode(errors="replace"), "capability": [major.value, minor.value]}


def facts(quick: bool) -> Dict[str, Any]:
    """Everything."""
    requirements = asked()
    out: Dict[str, Any] = {
        "python": ".".join(map(str, sys.version_info[:3])),
        "executable": sys.executable,
        "prefix": sys.prefix,
        "virtual": sys.prefix != sys.base_prefix or os.path.isdir(os.path.join(sys.prefix, "conda-meta")),
        "distributions": distributions(),
        "needed": needed(requirements),
        "incomplete": incomplete(),
        "conda": conda_builds(),
        "env": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "scheduler": {name: os.environ[name] for name in SCHEDULER if name in os.environ},
        "module": kernel_module(),
        "driver_library": driver_library(),
        "container": container(),
        "platform": platform(),
        "cpus": cpus(),
        "keras": keras_choice(),
        "libraries": {},
        "runpath": None,
        **nvidia_devices(),
    }
    spec = importlib.machinery.PathFinder.find_spec("tensorflow")
    folder = os.path.dirname(spec.origin) if spec and spec.origin else None
    out["tensorflow_dir"] = folder
    if folder:
        try:
            out["build"] = build_info(folder)
        except Exception as error:
            out["build_error"] = f"{type(error).__name__}: {error}"
        if (out.get("build") or {}).get("is_cuda_build"):
            out["libraries"], out["runpath"] = libraries(folder, out["build"])
            out["xla_tools"] = xla_tools(folder)
            out["requires"] = required(requirements)
    if not quick:
        out["cuda_driver"] = cuda_driver()
    return out


if __name__ == "__main__":
    if "--root" in sys.argv:
        ROOT = sys.argv[sys.argv.index("--root") + 1].rstrip("/")
    # Bytes: PYTHONIOENCODING may be anything, and is the script's.
    sys.stdout.buffer.write(json.dumps(facts(quick="--quick" in sys.argv)).encode() + b"\n")
