"""The status line: what runs, how far it is, how fast, with which settings; and what was just asked."""

from __future__ import annotations

from tfgpu_tui.core import python_options, units
from tfgpu_tui.core.account import whole_run
from tfgpu_tui.core.knobs import SCRIPT
from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.run_words import LOST_WORDS
from tfgpu_tui.terminal.lines import printable
from tfgpu_tui.ui.draw import Row, Span, clip, fit, spread, to_ascii, whole_groups, width_of, wrap_clipped
from tfgpu_tui.ui.keys import by_name
from tfgpu_tui.ui.layout import MIN_COLUMNS, MIN_ROWS
from tfgpu_tui.ui.panes.findings import offered
from tfgpu_tui.ui.view import Trials, View

_LIVE = (
    "growth", "rerun", "apply", "findings", "zoom", "explain", "detach", "help", "quit", "try_settings", "compare",
    "settings", "copy", "search", "freeze", "axis", "export", "browse", "next_metric",
)  # fmt: skip
_TRYING = ("quit", "detach", "findings", "zoom", "explain", "help", "search", "freeze", "axis", "export", "next_metric")
_REPLAY = (
    "freeze", "seek_back", "seek_ahead", "faster", "findings", "zoom", "explain", "help", "quit", "slower", "axis",
    "compare", "export", "browse", "search", "copy",
)  # fmt: skip
SHORT = {
    "start": "start", "import": "imports", "script": "script", "building": "building", "tensorflow": "TensorFlow",
    "fit_start": "fit's start", "tracing": "tracing", "first_batch": "first batches", "warmup": "warm-up",
    "steps": "steps", "epoch_edges": "epoch edges", "validation": "validation", "callbacks": "callbacks",
    "fit_end": "fit's end", "evaluation": "evaluate, predict", "serving": "serving", "exit": "exit",
    "unknown": "unknown",
}  # fmt: skip
"""What parts of the whole run are called in a row that has little room."""
MARKS = ("compute", "input", "host", "info")
"""Roles of the parts that the row names: the steps, and the three that took longest."""
FROZEN = "FROZEN, the run goes on"
_ZOOMED = {
    "placement": ("off_gpu", "search", "profile"),
    "output": ("search", "type"),
    "findings": ("apply", "try_settings", "copy", "explain"),
}
"""What a narrow footer keeps, from the left; a zoomed pane's own keys come first."""


def script_name(view: View) -> str:
    """`train.py`, `-m package.module` or `-c`."""
    known = view.state.run.argv if view.state.run else view.trials.group.argv if view.trials else []
    return printable(python_options.script_name(known)) or "tfgpu-tui"


def row(view: View, width: int) -> Row:
    """One row of exactly `width` cells. What matters least goes first where it is narrow."""
    groups = [*_left(view, width), *_right(view)]
    gap = 3
    while len(groups) > 1 and _width(groups, gap) + 2 > width:
        if gap > 2:
            gap -= 1
        else:
            groups.remove(min(groups, key=lambda g: g.keep))
    left = _flat([g for g in groups if not g.right], gap)
    right = _flat([g for g in groups if g.right], gap)
    out = spread(((" ", ""), *left), (*right, (" ", "")), width)
    return to_ascii(out) if view.glyphs.ascii else out


def whole(view: View, width: int) -> Row | None:
    """A bar of where the whole time of a run that is over went, and its greatest parts; None while it goes on."""
    found = whole_run(view.state) if view.state.ended is not None else None
    if found is None or not found.wall_s:
        return None
    longest = sorted(found.parts, key=lambda part: (part.key == "steps", part.seconds), reverse=True)[: len(MARKS)]
    begin: Row = (("whole run ", "muted"), (units.duration(found.wall_s), "bold"), (" ", ""))
    cells = max(10, width // 8)
    marks = dict(zip((part.key for part in longest), zip(view.glyphs.parts, MARKS, strict=True), strict=False))
    bar: list[Span] = []
    for part in found.parts:
        if part.key in marks:
            glyph, role = marks[part.key]
            bar.append((glyph * round(cells * part.seconds / found.wall_s), role))
    groups: list[Row] = [
        (
            (f"{marks[part.key][0]} ", marks[part.key][1]),
            (f"{SHORT[part.key]} ", ""),
            (units.share(part.seconds / found.wall_s), "bold"),
        )
        for part in longest
    ]
    rest = max(0.0, 1.0 - sum(part.seconds for part in longest) / found.wall_s)
    groups += [
        ((f"{view.glyphs.dot} other ", "muted"), (units.share(rest), "")),
        ((view.key("pane_account"), "key"), (" all", "")),
    ]
    drawn = [*bar, (view.glyphs.dot * max(0, cells - width_of(bar)), "muted")]
    legend = whole_groups(groups, width - width_of(begin) - cells - 2)
    out = fit(((" ", ""), *begin, *fit(drawn, cells), (" ", ""), *legend), width)
    return to_ascii(out) if view.glyphs.ascii else out


def too_small(view: View, columns: int, rows: int) -> list[Row]:
    """A terminal that is too small for panes: what the run does, and what to do, in as few lines as that takes."""
    words = f"{script_name(view)}: {view.state.activity()}, {view.state.counted} {view.state.train.steps}. "
    said = wrap_clipped(f"{words}Make this window {MIN_COLUMNS}x{MIN_ROWS} or larger.", columns, rows)
    return [fit(((said[y] if y < len(said) else "", "bold"),), columns) for y in range(rows)]


@dataclass(frozen=True)
class _Group:
    """Words that stay or go together; those with the lowest `keep` go first."""

    keep: int
    spans: tuple[Span, ...]
    right: bool = False


def _flat(groups: list[_Group], gap: int) -> list[Span]:
    out: list[Span] = []
    for group in groups:
        if out:
            out.append((" " * gap, ""))
        out += group.spans
    return out


def _width(groups: list[_Group], gap: int) -> int:
    return sum(width_of(g.spans) for g in groups) + gap * (len(groups) - 1)


def _left(view: View, width: int) -> list[_Group]:
    state, glyphs = view.state, view.glyphs
    ended = state.ended
    failed = view.lost or (
        ended is not None and ended.stopped is None and bool(ended.exit_code or ended.signal is not None)
    )
    role = "critical" if failed else "good" if state.ended is None else "info"
    sign = glyphs.ended if state.ended is not None or view.lost else glyphs.running
    groups = [_Group(99, ((f"{sign} ", role), (clip(script_name(view), 28), "bold")))]
    if view.notice:
        # What was just asked for gives way to nothing but the script's name.
        room = max(20, width - width_of(groups[0].spans) - 8 - (len(FROZEN) if view.frozen_since is not None else 0))
        groups.append(_Group(98, ((clip(printable(view.notice), room), "notice"),)))
    words = LOST_WORDS if view.lost else state.activity() + _next_stage(view)
    if view.behind is not None:
        words = view.waiting_words()
    if words != "training" or state.epoch is None:
        groups.append(_Group(97, ((words, "critical" if failed else ""),)))
    groups += _rerun(view, width - _width(groups, 3) - 5)
    if view.trials is not None and not view.trials.over:
        groups.append(_Group(75, (("trial ", "muted"), (_trial(view.trials), "notice"))))
    if state.epoch is not None:
        of = f"/{state.epochs}" if state.epochs else ""
        groups.append(_Group(60, (("epoch ", "muted"), (f"{state.epoch}{of}", ""))))
    if state.train.steps:
        steps = str(state.train.steps)
        if state.epoch_steps and state.step_in_epoch is not None:
            steps = f"{state.step_in_epoch}/{state.epoch_steps}"
        groups.append(_Group(70, ((f"{state.counted} ", "muted"), (steps, ""))))
    current = state.current()
    if current.mean_s is not None:
        groups.append(_Group(80, ((units.duration(current.mean_s), "bold"), (f"/{state.counted}", "muted"))))
    if (per_s := state.examples_per_s(current)) is not None:
        groups.append(_Group(10, ((units.number(per_s), ""), (" ex/s", "muted"))))
    if several := state.training.words():
        groups.append(_Group(30, ((several, "muted"),)))
    eta = state.eta_s()
    if eta is not None:
        groups.append(_Group(20, (("ETA ", "muted"), (units.clock(eta), ""))))
    return groups


def _trial(trials: Trials) -> str:
    """`3 input=parallel`: the number of the trial that runs, and its setting."""
    now = trials.group.now
    if now is None:
        return "comes"
    setting = " ".join(f"{name}={value}" for name, value in now.setting.items()) or "the script as it is"
    return printable(f"{len(trials.group.records) + 1}: {setting}")


def _next_stage(view: View) -> str:
    """`, SIGINT in 24 s`: what follows where a stop does not work. The end of a trial is hurried by its experiment."""
    stopping = view.state.stopping
    following = {"batch": "SIGINT", "interrupt": "SIGTERM", "terminate": "SIGKILL"}
    if stopping is None or stopping.grace_s is None or view.state.ended is not None or stopping.stage not in following:
        return ""
    if view.trials is not None and view.trials.group.now is not None:
        return ""
    left = max(0, round(stopping.t + stopping.grace_s - view.now))
    return f", {following[stopping.stage]} in {left} s"


def _rerun(view: View, room: int) -> list[_Group]:
    """What becomes of a rerun that was asked for, at this screen or another one; the reason of a failure in `room`
    cells."""
    rerun, over = view.state.rerun, view.lost or view.state.ended is not None
    if rerun is None or view.behind is not None:
        return []
    if rerun.state == "failed" or (rerun.pending and over):
        words = "the rerun did not start" + (f": {printable(rerun.error)}" if rerun.error else "")
        return [_Group(97, ((clip(words, max(room, 23)), "critical"),))]
    if rerun.pending:
        settings = ", ".join(f"{name}={value}" for name, value in rerun.knobs.items())
        with_settings = [_Group(50, ((printable(f"with {settings}"), "muted"),))] if settings else []
        return [_Group(97, (("then the rerun", "notice"),)), *with_settings]
    if rerun.state == "begun":
        return [_Group(50, (("its rerun: ", "muted"), (printable(rerun.id or ""), "")))]
    return [] if over else [_Group(97, (("without a rerun", ""),))]


def _right(view: View) -> list[_Group]:
    run = view.state.run
    groups: list[_Group] = []
    if run is not None and run.simulated:
        groups.append(_Group(96, ((printable(run.simulated), "warning"),), right=True))
    changed = view.knobs != view.next_knobs
    if view.has_gpu or changed or view.knobs:
        groups.append(_Group(95 if changed else 15, tuple(_growth(view)), right=True))
    if run is not None and run.parent:
        groups.append(_Group(5, (("rerun", "muted"),), right=True))
    if view.frozen_since is not None:
        groups.append(_Group(98, ((FROZEN, "notice"),), right=True))
    started = view.state.started
    of = ""
    if view.replay is not None:
        words = "PAUSED" if view.replay.paused else f"{view.replay.speed:g}x"
        groups.append(_Group(94, ((f"replay {words}", "notice"),), right=True))
        if started is not None and view.replay.ends is not None:
            of = f"/{units.clock(view.replay.ends - started)}"
    if started is not None:
        groups.append(_Group(93 if of else 40, ((units.clock(view.now - started) + of, "muted"),), right=True))
    return groups


def _growth(view: View) -> list[Span]:
    """`growth on`, and what the next run will have where that differs."""
    now = view.knobs.get("memory_growth", SCRIPT)
    following = view.next_knobs.get("memory_growth", SCRIPT)
    in_force = view.state.knobs_in_force.in_force.get("memory_growth") if view.state.knobs_in_force else None
    said = now if now != SCRIPT else (in_force or "as script")
    spans: list[Span] = [("growth ", "muted"), (printable(said), "")]
    if now not in (SCRIPT, in_force) and in_force is not None:
        spans.append((f" (script: {printable(in_force)})", "warning"))
    if following != now:
        after = "as script" if following == SCRIPT else following
        spans += [(f", next run {after}: ", "notice"), (view.key("rerun"), "key")]
    return spans


def footer(view: View, width: int, zoomed: str | None = None) -> Row:
    """As many keys as fit; help and quit always. In their place a new user's hint."""
    if view.hint is not None and view.hint.place == "footer":
        hint = fit(((" ", ""), *view.hint.row(width - 1)), width)
        return to_ascii(hint) if view.glyphs.ascii else hint
    keys = {name: by_name(view.keys, name) for name in {*_LIVE, *_REPLAY, "off_gpu", "type", "profile", "explain"}}
    # Enter takes the first finding, or in the list the chosen one.
    reachable = view.findings if zoomed == "findings" else view.findings[:1]
    skip = set() if any(offered(view, f) for f, _ in reachable) else {"apply"}
    if not view.has_gpu:
        skip |= {"growth"}
    if not view.findings:
        skip |= {"copy", "explain"}
    if view.state.ended is not None or view.replay is not None:
        skip |= {"type", "detach", "profile"}
    if view.replay is not None or view.trials is not None:
        skip |= {"try_settings"}
    usual = _REPLAY if view.replay else _LIVE if view.trials is None else _TRYING
    if view.trials is not None:
        skip = (skip - {"detach"} if view.trials.alive else skip | {"detach"}) | {"apply", "type"}
    names = [n for n in (*_ZOOMED.get(zoomed or "", ()), *usual) if n not in skip]
    names = list(dict.fromkeys(["zoom", *names] if zoomed else names))
    while len(names) > 2 and sum(len(keys[n].label) + len(keys[n].footer) + 3 for n in names) + 1 > width:
        names.pop(next(i for i in range(len(names) - 1, -1, -1) if names[i] not in ("help", "quit")))
    spans: list[Span] = [(" ", "")]
    for name in names:
        word = "back" if name == "zoom" and zoomed else keys[name].footer
        if name == "freeze" and view.replay is not None:
            word = "go on" if view.replay.paused else "pause"
        spans += [(keys[name].label, "key"), (f" {word}  ", "")]
    out = fit(spans, width)
    return to_ascii(out) if view.glyphs.ascii else out
