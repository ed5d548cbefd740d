"""Writes the table of GPU kernels of one TensorFlow version, from its CUDA build; no GPU is needed.

    python -m venv /tmp/gpu-build && /tmp/gpu-build/bin/pip install tensorflow==2.21.0
    /tmp/gpu-build/bin/python tools/kernel_table.py  # writes tfgpu_tui/agent/placement/kernel_tables/2.21.0.txt

On Linux the package `tensorflow` is the CUDA build (`tensorflow-cpu` is not), and its registry of kernels is complete
on any machine. Run it for each minor version; the agent uses the nearest table for a version without one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.path.insert(0, str(ROOT))
    import tensorflow as tf
    from tensorflow.python.framework import kernels as registry

    from tfgpu_tui.agent.placement import kernels

    if not tf.sysconfig.get_build_info().get("is_cuda_build"):
        print(f"TensorFlow {tf.__version__} here is a CPU build: it registers no GPU kernels", file=sys.stderr)
        return 1
    ops = sorted({kernel.op for kernel in registry.get_all_registered_kernels().kernel})
    lines = [kernels.line_of(op, found) for op in ops if (found := kernels.registered(op)) is not None]
    path = Path(kernels.FOLDER) / f"{tf.__version__}.txt"
    path.parent.mkdir(exist_ok=True)
    head = f"# GPU kernels in the CUDA build of TensorFlow {tf.__version__}; written by tools/kernel_table.py"
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    without = sum(line.endswith(" -") for line in lines)
    print(f"{path.relative_to(ROOT)}: {len(lines)} ops, {without} without any GPU kernel, {path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
