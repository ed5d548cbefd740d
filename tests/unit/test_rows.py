"""Rows are read and checked by their types: what mypy can't see of that is seen here; docs/journal.md is of today."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, is_typeddict

import pytest

from tfgpu_tui.core import knobs, rows, validate

ROOT = Path(__file__).parents[2]
READERS = [path for folder in ("diagnose", "ui") for path in sorted((ROOT / "tfgpu_tui" / folder).rglob("*.py"))]
ROWS: list[Any] = [cls for cls in vars(rows).values() if is_typeddict(cls)]
NO_ROWS = {
    # Keys of other things. mypy takes `row.get` with a key that no row has for an object, and is content.
    "GPU": "device kind -> ops (Layer.predicted)",
    "CPU": "device kind -> ops (Layer.predicted)",
    "loss": "a metric",
    "group": "a trial's experiment (meta.json)",
    "collectives": "a part of compute",
    "plain": "a way to multiply",
    "tensor_float_32_off": "a switch of TensorFlow",
    "NVIDIA_TF32_OVERRIDE": "environment",
    "optimizer": "a part of compute (LayerTimes.parts)",
    "op_determinism": "a switch of TensorFlow",
    "built": "values of TensorFlow's own message",
    "runtime": "values of TensorFlow's own message",
    "nvidia_cuda_nvcc_cu12": "a distribution",
    "nvidia_cudnn_cu12": "a distribution",
    "CUDA_VISIBLE_DEVICES": "environment",
    "NVIDIA_VISIBLE_DEVICES": "environment",
    "COLORTERM": "environment",
    "SSH_CONNECTION": "environment",
    "TERM": "environment",
    "TMUX": "environment",
}


def asked(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The keys in `row.get("key")`."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "get"
            and node.args
        ):
            key = node.args[0]
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield node.lineno, key.value


@pytest.mark.parametrize("path", READERS, ids=lambda path: str(path.relative_to(ROOT / "tfgpu_tui")))
def test_readers_ask_for_no_key_that_rows_do_not_have(path: Path) -> None:
    tree = ast.parse(path.read_text())
    known = {key for cls in ROWS for key in cls.__annotations__} | knobs.ALL.keys() | NO_ROWS.keys()
    unknown = [(line, key) for line, key in asked(tree) if key not in known]
    assert unknown == [], "no row has such a key; if it is one of another dictionary, name it in NO_ROWS"


def test_a_key_that_is_asked_for_is_seen() -> None:
    assert list(asked(ast.parse('row.get("a") or row.get(b)'))) == [(1, "a")]


ROWS_THAT_FIT: list[tuple[Any, dict[str, Any]]] = [
    (rows.Stage, {"stage": "Map", "line": 41, "self_us": None, "python": True, "of a newer version": [{}]}),
    (rows.Layer, {"layer": None, "class": "Dense", "recurrent": {"cudnn": None, "blocked_by": []}, "not_on_gpu": []}),
    (rows.MemoryDevice, {"device": "GPU:0", "current_bytes": 1, "limit_bytes": None}),
    (rows.Gpu, {"index": 0, "processes": [{"pid": 1}], "slices": [{"uuid": "MIG-a", "processes": None}]}),
    (rows.Facts, {"libraries": {"cudnn": {"path": None, "package": "a"}}, "build": {"is_cuda_build": True}}),
]


@pytest.mark.parametrize(("cls", "row"), ROWS_THAT_FIT, ids=lambda value: getattr(value, "__name__", ""))
def test_what_a_row_declares_is_what_is_asked_of_it(cls: Any, row: dict[str, Any]) -> None:
    kind = validate.kind_of(cls)
    assert validate.fits(kind, row)
    for key in row.keys() & cls.__annotations__.keys():
        without = {name: value for name, value in row.items() if name != key}
        assert validate.fits(kind, without) is (key not in cls.__required_keys__), key
        assert not validate.fits(kind, {**row, key: (1, 2)}), key


@pytest.mark.parametrize(
    ("cls", "row"),
    [
        (rows.MemoryDevice, {"device": "GPU:0", "peak_bytes": 1.5}),  # bits are shifted of it
        (rows.Gpu, {"index": 0, "slices": [{"processes": [{"pid": "1"}]}]}),
        (rows.Layer, {"layer": "a", "recurrent": {"cudnn": True}}),
        (rows.Layer, {"layer": "a", "not_on_gpu": [{"op": "A"}]}),
        (rows.Facts, {"libraries": {"cudnn": {"path": None}}}),
        (rows.Element, {"shape": [{}]}),
    ],
)
def test_rows_in_rows_are_looked_at(cls: Any, row: dict[str, Any]) -> None:
    assert not validate.fits(validate.kind_of(cls), row)


def test_the_page_of_the_journal_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "tools/journal_page.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
