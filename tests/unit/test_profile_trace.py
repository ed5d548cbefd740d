"""Reading a profiler's bytes: the time of an op is its kernels' on a GPU, and the host's without one."""

from __future__ import annotations

from tfgpu_tui.agent.placement import profile_trace


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return bytes([number << 3]) + varint(value)
    return bytes([number << 3 | 2]) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def device(number: int, name: str) -> bytes:
    return field(1, field(1, number) + field(2, field(1, name.encode()) + field(2, number)))


def event(number: int, name: str, ms: float, key: str = "long_name", at: float = 0) -> bytes:
    argument = field(1, key.encode()) + field(2, name.encode())
    when = field(9, int(at * 1e9)) + field(10, int(ms * 1e9))
    return field(4, field(1, number) + field(3, b"x") + when + field(11, argument))


def test_an_op_counts_its_kernels_or_its_time_on_the_host() -> None:
    raw = device(1, "/host:CPU") + device(2, "/device:GPU:0 NVIDIA")
    raw += event(1, "model/a/MatMul:MatMul", 0.01)  # the host launches it
    raw += event(2, "model/a/MatMul:MatMul", 2.0, "tf_op") + event(2, "model/a/MatMul:MatMul", 1.0, "tf_op")
    raw += event(1, "model/text/AsString:AsString", 4.0, at=1) + event(1, "model/text/AsString:AsString", 4.0, at=6)
    raw += event(1, "call/PartitionedCall:PartitionedCall", 99.0, at=20)
    raw += event(1, "std::function:operator()", 7.0, at=120)
    times = profile_trace.read(raw)
    assert times.ops == {
        "model/a/MatMul": profile_trace.Op("MatMul", 3.0, 1),
        "model/text/AsString": profile_trace.Op("AsString", 8.0, 2),
    }
    assert times.devices == {"GPU:0": 3.0, "CPU": 8.0}


def test_an_empty_trace_has_no_time() -> None:
    assert profile_trace.read(b"") == profile_trace.Times({}, {})


def test_a_wait_ends_with_the_first_end_after_it_in_whatever_order_the_trace_has_them() -> None:
    """Begin and end lie on two threads, and each thread's events stand together."""

    def told(name: str, at: float) -> bytes:
        pairs = {"kernel_type": "CollectiveReduceV2", "name": "reduce", "step_id": "7"}
        arguments = b"".join(field(11, field(1, k.encode()) + field(2, v.encode())) for k, v in pairs.items())
        return field(4, field(1, 1) + field(3, name.encode()) + field(9, int(at * 1e9)) + arguments)

    raw = device(1, "/host:CPU")
    for at in (40.0, 10.0, 25.0):
        raw += told(profile_trace.WAITED, at)
    for at in (5.0, 20.0, 45.0):
        raw += told(profile_trace.WAITS, at)
    expected = [("CollectiveReduceV2", 5e3, 10e3), ("CollectiveReduceV2", 20e3, 25e3)]
    assert profile_trace.trace(raw).waits == expected, "one ended before the window, one after it"


def test_copies_and_kernels_keep_their_own_names_and_sizes() -> None:
    def ran(name: str, at: float, ms: float, op: str, details: str = "") -> bytes:
        pairs = {"tf_op": op, **({"memcpy_details": details} if details else {})}
        arguments = b"".join(field(11, field(1, k.encode()) + field(2, v.encode())) for k, v in pairs.items())
        when = field(9, int(at * 1e9)) + field(10, int(ms * 1e9))
        return field(4, field(1, 2) + field(3, name.encode()) + when + arguments)

    details = "kind_src:pageable kind_dst:device size:38535168 dest:0 async:1"
    raw = device(2, "/device:GPU:0")
    raw += ran("MemcpyH2D", 0, 4.5, "Identity/_5:_Send", details)
    raw += ran("cutlass_80_simt_sgemm_128x32_8x5_tn_align1", 5, 2, "model/a/MatMul:MatMul")
    copy, product = profile_trace.trace(raw).runs
    assert (copy.kind, copy.name, copy.copied_bytes, copy.pageable) == ("_Send", "MemcpyH2D", 38_535_168, True)
    assert (product.kind, product.name[:21], product.copied_bytes) == ("MatMul", "cutlass_80_simt_sgemm", 0)
