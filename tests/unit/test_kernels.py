"""Which ops have a GPU kernel: tables, verdicts, and the choice of a table for a version."""

from __future__ import annotations

import pytest

from tfgpu_tui.agent.placement import kernels
from tfgpu_tui.agent.placement.kernels import Kernel, Kernels, Verdict

FLOAT32, FLOAT64, INT32, INT64, STRING = 1, 2, 3, 9, 7


def types(**held: int) -> kernels.Types:
    return lambda name: (held[name],) if name in held else ()


def newest() -> Kernels:
    version = max(kernels.available(), key=lambda v: [int(part) for part in v.split(".")])
    with open(f"{kernels.FOLDER}/{version}.txt", encoding="utf-8") as file:
        return Kernels(version, kernels.parse(file).get)


@pytest.mark.parametrize(
    ("op", "held", "verdict"),
    [
        ("MatMul", {"T": FLOAT32}, Verdict(kernels.GPU)),
        ("MatMul", {"T": FLOAT64}, Verdict(kernels.GPU)),
        ("MatMul", {"T": INT32}, Verdict(kernels.NO_DTYPE, "int32")),
        ("AddV2", {"T": INT32}, Verdict(kernels.HOST)),
        ("AddV2", {"T": FLOAT32}, Verdict(kernels.GPU)),
        ("AsString", {"T": FLOAT32}, Verdict(kernels.NO_KERNEL)),
        ("Mean", {"T": INT32, "Tidx": INT32}, Verdict(kernels.NO_DTYPE, "int32")),
        ("IteratorGetNext", {}, Verdict(kernels.GPU)),
        ("GatherNd", {"Tparams": FLOAT32, "Tindices": INT32}, Verdict(kernels.GPU)),
        ("NobodysOp", {}, None),
    ],
)
def test_the_table_of_the_gpu_build_knows(op: str, held: dict[str, int], verdict: Verdict | None) -> None:
    assert newest().verdict(op, types(**held)) == verdict


@pytest.mark.parametrize("version", kernels.available())
def test_every_table_has_the_kernels_that_training_needs(version: str) -> None:
    with open(f"{kernels.FOLDER}/{version}.txt", encoding="utf-8") as file:
        table = kernels.parse(file)
    assert len(table) > 1400
    for op in ("MatMul", "Conv2D", "Conv2DBackpropFilter", "CudnnRNNV3", "FusedBatchNormV3", "ResourceApplyAdam"):
        assert table[op], op
    for op in ("StringToHashBucketFast", "LookupTableFindV2", "PyFunc"):
        assert table[op] == [], op
    empty = [op for op, found in table.items() for k in found if not all(all(v) for v in k.allowed.values())]
    assert empty == [], "a constraint that is no dtype can never be met"


def test_a_line_holds_what_it_was_made_of() -> None:
    made = [
        Kernel({"T": frozenset({"float32"}), "I": frozenset({"int32"})}, False),
        Kernel({"T": frozenset({"float32"}), "I": frozenset({"int64"})}, False),
        Kernel({"T": frozenset({"float64"}), "I": frozenset({"int32", "int64"})}, False),
        Kernel({"T": frozenset({"int32"}), "I": frozenset({"int32"})}, True),
    ]
    line = kernels.line_of("Op", made)
    assert line == "Op I=int32,int64 T=float32,float64 | I=int32 T=int32 host"
    again = Kernels("", kernels.parse([line, "None -", "Any any"]).get)
    assert again.verdict("Op", types(T=FLOAT64, I=INT64)) == Verdict(kernels.GPU)
    assert again.verdict("Op", types(T=INT32, I=INT32)) == Verdict(kernels.HOST)
    assert again.verdict("Op", types(T=INT32, I=INT64)) == Verdict(kernels.NO_DTYPE)
    assert again.verdict("Op", types(T=STRING, I=INT32)) == Verdict(kernels.NO_DTYPE, "string")
    assert again.verdict("None", types()) == Verdict(kernels.NO_KERNEL)
    assert again.verdict("Any", types()) == Verdict(kernels.GPU)


@pytest.mark.parametrize(
    ("version", "table"),
    [("2.21.0", "2.21.0"), ("2.16.1", "2.16.2"), ("2.17.0", "2.16.2"), ("2.14.0", "2.15.1"), ("2.30.0-rc0", "2.21.0")],
)
def test_the_nearest_older_table_serves_a_version_without_one(version: str, table: str) -> None:
    assert kernels.nearest(version, ["2.21.0", "2.15.1", "2.16.2"]) == table
    assert kernels.nearest(version, []) is None
