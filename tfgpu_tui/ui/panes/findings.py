"""Findings: what is wrong, the evidence, the next step; the most costly first. Zoomed: all of them."""

from __future__ import annotations

from dataclasses import replace

from tfgpu_tui.core import units
from tfgpu_tui.core.state import STEADY_STEPS
from tfgpu_tui.diagnose import Finding
from tfgpu_tui.terminal.lines import printable
from tfgpu_tui.ui.draw import CORNERS, Box, Content, Role, Row, Span, clip_words, wrap, wrap_clipped
from tfgpu_tui.ui.view import View

LABEL = 9
"""Cells of the words `next`, `evidence` in front of the text."""


def drawn_from(view: View) -> object:
    """Equal as long as `content` draws the same in the same box; None where it may always be another."""
    if all(f.severity == "info" and not offered(view, f) for f, _ in view.findings):
        return None
    state = view.state
    told = (view.findings, view.past, view.hint, view.knobs, view.replay is None, view.trials is None)
    return (*told, state.started, state.running, dict(state.hooks_off), [fault.message for fault in state.faults])


def content(view: View, box: Box) -> Content:
    """The first finding with its evidence, the others in one line; zoomed, a list with a cursor."""
    shown = _content(view, box)
    if view.hint is not None and view.hint.place == "findings":
        return replace(shown, bottom=view.hint.row(box.width - CORNERS))
    return shown


def _content(view: View, box: Box) -> Content:
    if (view.findings or view.past) and box.zoomed:
        return _list(view, box)
    if all(f.severity == "info" and not offered(view, f) for f, _ in view.findings):
        return _nothing_wrong(view, box)
    return _first(view, box)


def _nothing_wrong(view: View, box: Box) -> Content:
    """Information only: what was looked at, and with which result."""
    state = view.state
    lines: list[Row] = []
    role: Role = "info"
    if view.behind is not None or state.run is None:
        title, words = "findings", view.waiting_words()
    elif state.ended is not None:
        title = state.activity()
        role = "good" if not state.ended.exit_code and state.ended.signal is None else "critical"
        words = "nothing wrong was found in what was measured"
        if not state.train.steps:
            words = "no training step was seen"
    elif state.judged.steps < STEADY_STEPS:
        title = state.activity()
        words = f"nothing is judged before {STEADY_STEPS} steps after warm-up: the first steps trace and compile"
    else:
        shares = state.judged.shares()
        title, role = f"Nothing wrong found: {units.share(shares['compute'])} of each step computes", "good"
        words = (
            f"the input pipeline costs {units.share(shares['input_wait'])} of a step, the host "
            f"{units.share(shares['host'])} (callbacks, metrics, Python); judged on {state.judged.steps} steps"
        )
    lines += [((line, "muted"),) for line in wrap(words, box.width - 4)]
    missing = _missing(view)
    lines += [((line, "warning"),) for line in wrap(missing, box.width - 4)] if missing else []
    lines += _about(view, box.width - 4)
    for finding, _ in view.findings:
        lines.append(_other(finding, box.width - 4))
        lines += _labelled("", finding.lines[0], box.width - 4, 1, "muted") if finding.lines else []
    return Content(title=((title, role),), count=len(lines), line=lines.__getitem__, box=role)


def _about(view: View, width: int) -> list[Row]:
    """What is trained, with what, where: the facts that a reader checks first."""
    state, environment = view.state, view.state.environment
    parts: list[str] = []
    if state.model is not None:
        parts.append(
            f"{state.model.name}, {units.number(state.model.parameters)} weights, {state.model.optimizer or 'own loop'}"
        )
    if state.dataset is not None:
        size = f", batch {state.batch_size}" if state.batch_size else ""
        parts.append(f"{state.dataset.kind}{size}")
    if environment.tensorflow:
        build = f" ({environment.tensorflow_build})" if environment.tensorflow_build else ""
        keras = f", Keras {environment.keras}" if environment.keras else ""
        parts.append(f"TensorFlow {environment.tensorflow}{build}{keras}, Python {environment.python or units.UNKNOWN}")
    return _labelled("trains", " · ".join(parts), width, 2, "") if parts else []


def _first(view: View, box: Box) -> Content:
    finding, since = view.findings[0]
    width = box.width - 4
    room = max(1, box.height - 1)
    next_rows = _labelled("next", finding.next, width, max(1, min(2, room - 1)), "bold")
    said = ". ".join(line for line in finding.lines if line)
    if finding.incomplete:
        said = f"not certain: {finding.incomplete}" + (f". {said}" if said else "")
    evidence = _labelled("evidence", said, width, max(0, min(3, room - len(next_rows))), "") if said else []
    rows = [*evidence, *next_rows]
    others = view.findings[1 : 1 + max(0, room - len(rows))]
    rows += [_other(f, width) for f, _ in others]
    hidden = len(view.findings) - 1 - len(others)
    if not offered(view, finding):
        offer: Row = ()
    else:
        offer = ((view.key("apply"), "key"), (f" reruns with {finding.knob}", ""))
    return Content(
        title=_title(finding),
        right=_since(view, finding, since),
        count=len(rows),
        line=rows.__getitem__,
        box=finding.severity,
        bottom=(*offer, *((("   ", ""),) if offer and hidden else ()), *_also(view, hidden)),
    )


def offered(view: View, finding: Finding) -> bool:
    """True where Enter would rerun with something that this run does not have yet."""
    if finding.knob is None or view.replay is not None or view.trials is not None:
        return False
    name, _, value = finding.knob.partition("=")
    return view.knobs.get(name) != value


def _title(finding: Finding) -> Row:
    return ((printable(finding.title), finding.severity),)


def _past(view: View, width: int) -> list[Row]:
    """What no longer stands, with when it did."""
    started = view.state.started or 0.0
    rows: list[Row] = [(("over", "bold"),)] if view.past else []
    for past in view.past:
        when = f"{units.clock(past.since - started)} to {units.clock(past.until - started)}"
        title = clip_words(printable(past.finding.title), max(8, width - LABEL - len(when) - 2))
        rows.append(((f"{past.finding.severity:<{LABEL}}", "muted"), (f"{when}  ", "muted"), (title, "")))
    return rows


def _since(view: View, finding: Finding, since: float) -> Row:
    started = view.state.started
    when = f", since {units.clock(since - started)}" if started is not None and view.state.running else ""
    return ((finding.severity, finding.severity), (when, "muted"))


def _other(finding: Finding, width: int) -> Row:
    return ((f"{'also':<{LABEL}}", "muted"), (finding.severity, finding.severity),
            (f"  {clip_words(printable(finding.title), width - LABEL - 10)}", ""))  # fmt: skip


def _also(view: View, hidden: int) -> Row:
    """The findings that have no row of their own."""
    if not hidden:
        return ()
    text = " · ".join(printable(f.title) for f, _ in view.findings[-hidden:])
    return ((view.key("findings"), "key"), (f" also {hidden}: {text}", "muted"))


def _labelled(label: str, text: str, width: int, lines: int, role: Role) -> list[Row]:
    out: list[Row] = []
    for i, part in enumerate(wrap_clipped(text, max(8, width - LABEL), lines) if lines else []):
        out.append(((f"{label if i == 0 else '':<{LABEL}}", "muted"), (part, role)))
    return out


def item_rows(view: View, finding: Finding, since: float, width: int, selected: bool) -> list[Row]:
    """One finding in full."""
    head: list[Span] = [(f"{finding.severity:<{LABEL}}", finding.severity)]
    title = wrap(finding.title, max(8, width - LABEL))
    role: Role = "cursor" if selected else "bold"
    rows: list[Row] = [(*head, (title[0], role))]
    rows += [((" " * LABEL, ""), (part, role)) for part in title[1:]]
    for line in finding.lines:
        rows += _labelled("", line, width, 6, "")
    if finding.incomplete:
        rows += _labelled("unsure", finding.incomplete, width, 3, "warning")
    rows += _labelled("next", finding.next, width, 8, "")
    if finding.knob and view.replay is None and view.trials is None:
        rows.append(((f"{view.key('apply'):<{LABEL}}", "key"), (f"reruns with {finding.knob}", "")))
    stands = f", since {units.clock(since - view.state.started)}" if view.state.started is not None else ""
    return [*rows, ((" " * LABEL, ""), (finding.id + stands, "muted")), ()]


def _list(view: View, box: Box) -> Content:
    width = box.width - 4
    cursor = min(box.cursor, len(view.findings) - 1)
    severity = view.findings[0][0].severity if view.findings else "info"
    rows: list[Row] = []
    for i, (finding, since) in enumerate(view.findings):
        rows += item_rows(view, finding, since, width, i == cursor)
    missing = _missing(view)
    if missing:
        rows += [*(((line, "warning"),) for line in wrap(missing, width)), ()]
    rows += _past(view, width)
    return Content(
        title=((f"{len(view.findings)} finding{'s' if len(view.findings) != 1 else ''}", ""),),
        right=((f"{view.glyphs.up} {view.glyphs.down} choose", "muted"),),
        bottom=(*_hint(view, "copy", " copies the next step   "), *_hint(view, "explain", " says why")),
        count=len(rows),
        line=rows.__getitem__,
        box=severity,
        selectable=len(view.findings),
    )


def _hint(view: View, key: str, words: str) -> Row:
    return (view.key(key), "key"), (words, "")


def _missing(view: View) -> str | None:
    """What could not be measured, so that silence is not taken for health."""
    off = [f"{printable(name)} ({printable(why)})" for name, why in view.state.hooks_off.items()]
    faults = [printable(f.message) for f in view.state.faults][-2:]
    parts = ([f"not measured: {', '.join(off)}"] if off else []) + faults
    return "; ".join(parts) or None
