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
