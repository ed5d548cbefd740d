"""`report --html`: one page with findings, plots and tables that opens without a network (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from tfgpu_tui.core import units
from tfgpu_tui.core.account import WORDS
from tfgpu_tui.core.compute_parts import words
from tfgpu_tui.core.measures import Measure, measures
from tfgpu_tui.core.parts.layers import on_a_gpu
from tfgpu_tui.core.places import Places
from tfgpu_tui.core.run_words import signal_name
from tfgpu_tui.core.series import Series
from tfgpu_tui.core.state import RunState
from tfgpu_tui.report.report_json import LIFE_WORDS, steps_words
from tfgpu_tui.report.svg_plot import Layer, Time, line, stacked
from tfgpu_tui.terminal.lines import printable

_STYLE = """
:root{--ink:#1d2330;--muted:#5b6475;--paper:#fff;--panel:#f4f6f9;--line:#d5dae3;--critical:#b3261e;--warning:#8a5a00;
--info:#0b5c8a;--good:#1c6b35;--wait:#d98a00;--compute:#2e8b57;--host:#8f4f8f;--load:#1f6fb2}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--muted:#a2abbb;--paper:#15181e;--panel:#1e232c;--line:#39414f;
--critical:#ff8a80;--warning:#ffc14d;--info:#7cc7ff;--good:#7ddf9a;--wait:#e0a030;--compute:#4fb37c;--host:#c08cc0;
--load:#6cb2f0}}
*{box-sizing:border-box}body{margin:0 auto;max-width:1200px;padding:24px;font:15px/1.5 system-ui,sans-serif;
color:var(--ink);background:var(--paper)}h1{font-size:1.4em;margin:0}h2{font-size:1.1em;margin:2em 0 .5em}
.muted,small,figcaption small{color:var(--muted);font-weight:normal}.simulated{color:var(--warning);font-weight:bold}
.finding{border:1px solid var(--line);border-left:6px solid var(--info);background:var(--panel);padding:10px 14px;
margin:10px 0;border-radius:4px}.finding.critical{border-left-color:var(--critical)}
.finding.warning{border-left-color:var(--warning)}.finding h3{margin:0;font-size:1em}.finding p{margin:.3em 0}
.critical b.sev{color:var(--critical)}.warning b.sev{color:var(--warning)}.info b.sev{color:var(--info)}
code{background:var(--panel);padding:1px 4px;border:1px solid var(--line);border-radius:3px}
.share{display:flex;height:26px;border-radius:4px;overflow:hidden;margin:6px 0}.share div{min-width:1px}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(420px,1fr));gap:14px}figure{margin:0}
figcaption{font-weight:600;font-size:.9em}svg{width:100%;height:auto;background:var(--panel);border-radius:4px}
svg text{font-size:11px;fill:var(--muted)}svg .end{text-anchor:end}.axis{stroke:var(--line);fill:none}
.mark{stroke:var(--line);stroke-dasharray:2 3}polyline{fill:none;stroke-width:1.6}
.wait{stroke:var(--wait)}.compute{stroke:var(--compute)}.host{stroke:var(--host)}.load{stroke:var(--load)}
.area{stroke:none}.area.wait,div.wait,span.wait{fill:var(--wait);background:var(--wait)}
.area.compute,div.compute,span.compute{fill:var(--compute);background:var(--compute)}
.area.host,div.host,span.host{fill:var(--host);background:var(--host)}circle.load{fill:var(--load)}
span.key{display:inline-block;width:10px;height:10px;margin:0 4px 0 8px}.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.9em}th,td{text-align:left;padding:3px 10px 3px 0;
border-bottom:1px solid var(--line);vertical-align:top}th{color:var(--muted);font-weight:600}.n{text-align:right;
font-variant-numeric:tabular-nums}
"""


def html(state: RunState, report: dict[str, Any]) -> str:
    """The page; `report` is what `report_json.build` made of the same state."""
    run = report["run"]
    name = " ".join(run["argv"] or []) or "run"
    parts = [
        _head(state, report, name),
        _findings(report),
        _shares(report),
        _compute(report),
        _account(report["account"]),
        _plots(state),
        _pipeline(report["pipeline"], state.places),
        _placement(report["placement"]),
        _gpus(report["gpus"]),
        _epochs(state),
        _facts(report),
        _skipped(report),
    ]
    return document(name, parts)


def document(name: str, parts: Sequence[str]) -> str:
    """A page of these parts, with its style in it."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{text(name)}: tfgpu-tui</title><style>{_STYLE}</style></head><body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )


def _skipped(report: dict[str, Any]) -> str:
    lines = report["monitor"]["skipped"]
    words = f"{lines} lines of the journal were left out: they are no events that this version knows."
    return f'<p class="muted">{words}</p>' if lines else ""


def text(value: Any) -> str:
    """Anything, safe inside the page: names come from the script."""
    return escape(printable(str(value)), quote=True)


def _head(state: RunState, report: dict[str, Any], name: str) -> str:
    run, training = report["run"], report["training"]
    said = [f"{_ending(run)} {'after' if run['stopped'] is None else 'in'} {units.duration(run['wall_s'])}"]
    if training["steps"]:
        said.append(f"{steps_words(training)}, {units.duration(_s(training['step_ms']['mean']))} each")
        if training["examples_per_s"] is not None:
            said.append(f"{units.number(training['examples_per_s'])} examples/s")
    simulated = f' <span class="simulated">{text(run["simulated"])}</span>' if run["simulated"] else ""
    return (
        f"<h1>{text(name)}{simulated}</h1>"
        f"<p>{text('; '.join(said))}<br>"
        f'<span class="muted">{text(run["id"])}, started {text(run["started"])}</span></p>'
    )


def _ending(run: dict[str, Any]) -> str:
    if run["stopped"] is not None:
        return str(run["stopped"]["words"])
    if run["signal"] is not None:
        return f"ended by {signal_name(run['signal'])}"
    if run["exit_code"] is None:
        return "ended; its exit status is not known" if run["ended"] is not None else LIFE_WORDS[run["state"]]
    return "finished" if run["exit_code"] == 0 else f"failed, exit {run['exit_code']}"


def _s(ms: float | None) -> float | None:
    return None if ms is None else ms / 1e3


def _findings(report: dict[str, Any]) -> str:
    out = ["<h2>What was found</h2>"]
    for f in report["findings"]:
        evidence = "".join(f"<p>{text(line)}</p>" for line in f["lines"] if line)
        unsure = f'<p class="muted">not certain: {text(f["incomplete"])}</p>' if f["incomplete"] else ""
        knob = f"<p>Without an edit: <code>tfgpu-tui --set {text(f['knob'])} …</code></p>" if f["knob"] else ""
        out.append(
            f'<div class="finding {text(f["severity"])}">'
            f'<h3><b class="sev">{text(f["severity"])}</b> {text(f["title"])}</h3>'
            f"{evidence}{unsure}<p><b>next</b> {text(f['next'])}</p>{knob}<small>{text(f['id'])}</small></div>"
        )
    if not report["findings"]:
        reason = report["unknown"].get("findings")
        out.append(f"<p>{text(f'Nothing to judge: {reason}.' if reason else 'Nothing measured here stands out.')}</p>")
    return "".join(out)


HOTTEST = 20
"""Layers that are listed."""
_SHARE_WORDS = (("input_wait", "input wait", "wait"), ("compute", "compute", "compute"), ("host", "host", "host"))


def _shares(report: dict[str, Any]) -> str:
    phases = report["phases"]
    if any(phases[key] is None for key, _, _ in _SHARE_WORDS):
        return ""
    bars = "".join(
        f'<div class="{css}" style="width:{100 * phases[key]:.2f}%" title="{label}"></div>'
        for key, label, css in _SHARE_WORDS
    )
    words = " ".join(
        f'<span class="key {css}"></span>{label} {text(units.share(phases[key]))}' for key, label, css in _SHARE_WORDS
    )
    return f'<h2>Where a step\'s time goes</h2><div class="share">{bars}</div><p>{words}</p>'


def _compute(report: dict[str, Any]) -> str:
    """The parts of compute, and the layers with most of it."""
    found = report["compute"]
    if found is None:
        return ""
    parts = [(words(name), units.share(row["share"]), units.number(row["ms"])) for name, row in found["parts"].items()]
    layers = [
        (row["layer"], units.share(row["share"]), *(units.share(row.get(part)) for part in ("forward", "backward")))
        for row in found["layers"][:HOTTEST]
    ]
    how = f"Over {found['steps']} steps, in which TensorFlow's profiler looked: they take longer than others."
    if found["note"]:
        how += f" {found['note']}."
    tables = _table(("part", "of compute", "ms a step"), parts, (1, 2))
    if layers:
        tables += _table(("layer", "of compute", "forward", "backward"), layers, (1, 2, 3))
    return f"<h2>What compute is made of</h2><p class=muted>{text(how)}</p>{tables}"


def _account(account: dict[str, Any] | None) -> str:
    """Where the whole wall time went."""
    if account is None:
        return ""
    rows = "".join(
        f'<tr><td>{text(WORDS[part["part"]])}</td><td class="n">{text(units.duration(part["seconds"]))}</td>'
        f'<td class="n">{text(units.share(part["share"]))}</td><td style="width:50%"><div class="share">'
        f'<div class="compute" style="width:{100 * part["share"]:.2f}%"></div></div></td></tr>'
        for part in account["parts"]
    )
    return f"<h2>The whole run: {text(units.duration(account['wall_s']))}</h2><table>{rows}</table>"


def _plots(state: RunState) -> str:
    found = measures(state)
    if state.started is None or not found:
        return ""
    time = Time(state.started, max(state.now, state.started + 1.0), tuple(state.marks))
    out = []
    step = {m.name: m for m in found if m.group == "step"}
    if step:
        layers = [
            Layer(step[f"step/{key}"].series if f"step/{key}" in step else Series(), label, css)
            for key, label, css in _SHARE_WORDS
        ]
        out.append(stacked("Step time", layers, time, "ms"))
    for measure in found:
        if measure.group != "step":
            out.append(_plot(state, measure, time))
    note = (
        "<p class=muted>All plots share one time axis. Dotted: epochs, validation, checkpoints, retraces, changed "
        "settings (hover to read). A gap is time in which nothing was measured.</p>"
    )
    return f'<h2>Over time</h2>{note}<div class="plots">{"".join(out)}</div>'


def _plot(state: RunState, measure: Measure, time: Time) -> str:
    top: float | None = None
    if measure.unit == "%" and measure.name != "cpu/training":
        top = 100.0
    layer = Layer(measure.series, measure.label, "load")
    return line(printable(measure.label), layer, time, measure.unit, top)


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]], numbers: Sequence[int] = ()) -> str:
    css = [' class="n"' if i in numbers else "" for i in range(len(head))]

    def cell(i: int, value: Any) -> str:
        return f"<td{css[i]}>{text(units.UNKNOWN if value is None or value == '' else value)}</td>"

    top = "".join(f"<th{c}>{text(h)}</th>" for c, h in zip(css, head, strict=True))
    body = "".join(f"<tr>{''.join(cell(i, v) for i, v in enumerate(row))}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{top}</tr>{body}</table></div>'


def _pipeline(stages: list[dict[str, Any]], places: Places) -> str:
    if not stages:
        return ""
    rows = [
        (
            s["name"] or s["stage"],
            units.duration(_s(s["per_batch_ms"])),
            units.share(s["share"]),
            s["parallelism"] if not s["autotuned"] else f"{s['parallelism'] or units.UNKNOWN} auto",
            places.at(s["file"], s["line"]) if s["file"] else None,
        )
        for s in stages
    ]
    return "<h2>Input pipeline, from source to model</h2>" + _table(
        ("stage", "a batch", "share", "at a time", "where"), rows, (1, 2, 3)
    )


def _placement(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    shown = [
        (
            "\u00a0\u00a0" * min(8, row["depth"] or 0) + str(row["layer"]),
            row["class"],
            _devices(row["forward"]),
            _devices(row["backward"]),
            on_a_gpu(row.get("predicted") or {}),
            ", ".join(map(str, row["variables"] or ())),
            row["dtype"],
            units.number(row["ms"]) if row.get("ms") is not None else None,
            "; ".join(str(v) for v in (f"asked for {row['asked']}" if row["asked"] else None, row["reason"]) if v),
        )
        for row in rows
    ]
    head = ("layer", "class", "forward", "backward", "on a GPU", "variables", "dtype", "ms", "why / asked for")
    return "<h2>Where every layer ran</h2>" + _table(head, shown, (7,))


def _devices(ops: dict[str, int] | None) -> str:
    return ", ".join(f"{d} {n}" for d, n in sorted((ops or {}).items(), key=lambda kv: -kv[1]))


def _gpus(gpus: list[dict[str, Any]]) -> str:
    if not gpus:
        return ""
    rows = [
        (
            g["index"],
            g["name"],
            units.percent(g["busy_mean"]),
            units.percent(g["busy_training_mean"]),
            _mib(g["memory_used_peak_mib"]),
            _mib(g["memory_total_mib"]),
            "this run's" if g["ours"] else "not used by this run",
            g["error"],
        )
        for g in gpus
    ]
    return "<h2>GPUs</h2>" + _table(
        ("", "name", "busy", "while training", "memory at most", "of", "", "error"), rows, (2, 3, 4, 5)
    )


def _mib(value: float | None) -> str:
    return units.size(None if value is None else value * 2**20)


def _epochs(state: RunState) -> str:
    history = list(state.history)
    if not history:
        return ""
    names = list(dict.fromkeys(name for epoch in history for name in epoch.metrics))
    rows = [
        (
            e.epoch,
            units.duration(e.wall_s),
            e.steps,
            *(_metric(e.metrics.get(n)) for n in names),
        )
        for e in history
    ]
    return "<h2>Epochs</h2>" + _table(("epoch", "time", "steps", *names), rows, range(len(names) + 3))


def _metric(value: float | str | None) -> str:
    return value if isinstance(value, str) else units.number(value, 4)


def _facts(report: dict[str, Any]) -> str:
    environment = {k: v for k, v in report["environment"].items() if isinstance(v, (str, int, float)) and v is not None}
    rows = [*environment.items(), *((f"setting {k}", v) for k, v in report["run"]["knobs"].items())]
    unknown = [(path, reason) for path, reason in report["unknown"].items()]
    out = "<h2>Environment</h2>" + _table(("", ""), rows)
    return out + ("<h2>Not measured, and why</h2>" + _table(("", ""), unknown) if unknown else "")
