"""GPU busy and memory over time, one line of numbers for each GPU. Without a GPU it says so, once."""

from __future__ import annotations

from tfgpu_tui.core import units
from tfgpu_tui.core.gpu_mapping import mapping
from tfgpu_tui.core.totals import GpuView
from tfgpu_tui.terminal.lines import printable
from tfgpu_tui.ui import plot
from tfgpu_tui.ui.draw import Box, Content, Role, Row, Span, note, static
from tfgpu_tui.ui.view import View

WORKING_PERCENT = 5.0
"""A GPU that is busy for less is not counted as working."""
STALE_INTERVALS = 4
"""A value that is older than so many sampling periods is shown with its age."""
NO_GPU = {
    "no_library": "no NVIDIA driver library here",
    "no_driver": "the NVIDIA driver does not answer",
    "no_gpu": "none in this machine",
    "mismatch": "NVIDIA's driver and its library differ in version: reboot, or reload the module",
    "hung": "the NVIDIA driver hangs",
    "crashed": "the NVIDIA library crashed",
    "error": "the NVIDIA library reports an error",
}


def why_no_gpu(view: View) -> str:
    """Why there is no GPU to show, in words."""
    status = view.state.gpu_status
    if status is None:
        over = view.state.ended is not None
        return "the run ended before a GPU was looked for" if over else "waiting for the first GPU sample"
    return NO_GPU.get(status.status) or "no GPU is visible"


def content(view: View, box: Box) -> Content:
    """The busiest of the run's own GPUs as a plot; all of them as numbers."""
    gpus = shown(view)
    if not gpus:
        return note((("GPU", ""),), why_no_gpu(view), box.width)
    if len(gpus) > 1 and box.height >= len(gpus) + 1 and not box.zoomed:
        return _each(view, box, gpus)
    chosen = gpus[0]
    title = _title(view, chosen)
    rows = [_numbers(view, g) for g in gpus] if box.zoomed else [_more(view, chosen, len(gpus))]
    height = max(1, box.height - len(rows) - 1)
    cells = max(1, box.width - plot.AXIS_WIDTH)
    window = view.window
    count = cells * (2 if view.glyphs.braille else 1)
    busy = chosen.busy.columns(window.begin, window.end, count)
    drawn = plot.labelled(plot.area(busy, 100.0, height, "gpu", view.glyphs), "100 %", "0", view.glyphs)
    time = view.time_row(cells)
    return static(title, [*rows, *drawn, time])


def _each(view: View, box: Box, gpus: list[GpuView]) -> Content:
    """Several GPUs: one low plot each, in the order of their numbers, on the same time axis."""
    cells = max(1, box.width - plot.AXIS_WIDTH)
    window, glyphs = view.window, view.glyphs
    count = cells * (2 if glyphs.braille else 1)
    each, more = divmod(box.height - 1, len(gpus))
    rows: list[Row] = []
    for i, gpu in enumerate(sorted(gpus, key=lambda g: g.index)):
        height = each + (i < more)
        if gpu.latest.get("error"):
            rows.append(((f"{gpu.index:>1} lost", "warning"), (f"  {printable(str(gpu.latest['error']))}", "warning")))
            rows += [()] * (height - 1)
            continue
        low = plot.area(gpu.busy.columns(window.begin, window.end, count), 100.0, height, "gpu", glyphs)
        now = _busy(view, gpu)
        label = f"{gpu.index:>1} {units.UNKNOWN if now is None else f'{now:.0f}':>3}"
        role: Role = "" if gpu.ours else "muted"
        heads = [label, *[""] * (height - 1)]
        rows += [
            ((f"{head:<5}", role), (glyphs.side, "rule"), (" ", ""), *row) for head, row in zip(heads, low, strict=True)
        ]
    working = sum((_busy(view, g) or 0.0) >= WORKING_PERCENT for g in gpus if not g.latest.get("error"))
    verb = "worked" if view.state.ended is not None else "work" if working != 1 else "works"
    title: Row = ((f"GPU busy %: {working} of {len(gpus)} {verb}", "" if working == len(gpus) else "warning"),)
    return static(title, [*rows, view.time_row(cells)])


def _busy(view: View, gpu: GpuView) -> float | None:
    """Now; of a run that has ended, on average."""
    return gpu.busy.latest if view.state.ended is None else gpu.busy.mean()


def _title(view: View, gpu: GpuView) -> Row:
    """Busy now; how old that is where no newer value came; and where the GPU is gone, that."""
    if gpu.latest.get("error"):
        return ((f"GPU {gpu.index} does not answer", "warning"),)
    if view.state.ended is not None:
        return ((f"GPU {gpu.index} busy {units.percent(gpu.busy.mean())} on average", ""),)
    busy = f"GPU {gpu.index} busy {units.percent(gpu.busy.latest)}"
    age = stale_s(view, gpu)
    if age is None:
        return ((busy, ""),)
    status = view.state.gpu_status
    why = NO_GPU.get(status.status, "") if status else ""
    return ((f"{busy} {units.duration(age)} ago", "muted"), (f"  {why}" if why else "", "warning"))


def stale_s(view: View, gpu: GpuView) -> float | None:
    """The age of this GPU's values where newer ones are missing; None while they come."""
    run = view.state.run
    if gpu.seen is None or run is None or view.state.ended is not None:
        return None
    age = view.now - gpu.seen
    return age if age > STALE_INTERVALS * max(run.interval_s, 0.5) else None


def shown(view: View) -> list[GpuView]:
    """The run's own GPUs first, then by index."""
    return sorted(view.state.gpus.values(), key=lambda g: (not g.ours, g.index))


def tensorflow_name(view: View, gpu: GpuView) -> str | None:
    """`GPU:0` where TensorFlow lists this GPU; `GPU:0 /GPU:1` where it is split; with a mark where that is in doubt."""
    found = [m for m in mapping(view.state) if m.index == gpu.index]
    return " /".join(m.device + ("?" if m.doubt else "") for m in found) or None


def _numbers(view: View, gpu: GpuView) -> Row:
    latest = gpu.latest
    if latest.get("error"):
        return ((f" GPU {gpu.index}: {printable(str(latest['error']))}", "warning"),)
    power, celsius, throttle = latest.get("power_w"), latest.get("temperature_c"), latest.get("throttle")
    name = tensorflow_name(view, gpu)
    spans: list[Span] = [
        (f" {gpu.index} ", "bold"),
        (units.percent(latest.get("busy_percent")), "gpu"),
        (" memory ", "muted"),
        (f"{units.size(latest.get('memory_used_bytes'))} of {units.size(latest.get('memory_total_bytes'))}", ""),
    ]
    if power is not None:
        spans.append((f"  {power:.0f} W", ""))
    if celsius is not None:
        spans.append((f"  {celsius:.0f} °C", _heat(celsius)))
    if name:
        spans.append((f"  /{name}", "muted"))
    if throttle:
        spans.append((f"  slowed: {', '.join(throttle)}", "warning"))
    return tuple(spans)


def _more(view: View, gpu: GpuView, count: int) -> Row:
    """What the title and the memory pane do not say already."""
    if gpu.latest.get("error"):
        return _numbers(view, gpu)
    latest = gpu.latest
    power, celsius, throttle = latest.get("power_w"), latest.get("temperature_c"), latest.get("throttle")
    spans: list[Span] = []
    if power is not None:
        spans.append((f" {power:.0f} W ", ""))
    if celsius is not None:
        spans.append((f" {celsius:.0f} °C ", _heat(celsius)))
    if throttle:
        spans.append((f" slowed: {', '.join(throttle)} ", "warning"))
    name = tensorflow_name(view, gpu)
    spans.append((f" /{name}" if name else " not listed by TensorFlow", "muted"))
    if gpu.name:
        spans.append((f"  {printable(gpu.name)}", "muted"))
    if count > 1:
        spans.append((f"  1 of {count}, {view.key('zoom')} shows all", "muted"))
    return tuple(spans)


def _heat(celsius: float) -> Role:
    return "warning" if celsius >= 85 else ""
