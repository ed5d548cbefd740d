"""Family D: calls of fit, predict and evaluate that do little and start all over each time (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from tfgpu_tui.core import units
from tfgpu_tui.core.rows import CallPlace
from tfgpu_tui.core.state import STEADY_STEPS, RunState
from tfgpu_tui.core.totals import PredictTimes
from tfgpu_tui.diagnose.finding import Finding, severity_of

MANY_FITS = 8
SHORT_FIT_STEPS = 200
MANY_PREDICTS = 20
PREDICTS_AN_EPOCH = 4
"""Within a fit, so many calls an epoch are no loop: callbacks that look at the model after each epoch."""


def findings(state: RunState) -> Iterator[Finding]:
    """host.fit_in_loop, host.predict_in_loop. Their shares are of the time since the first training step: nearly all
    that such calls take lies outside of the steps."""
    since = _since_first_step(state)
    if since is None or state.train.steps < STEADY_STEPS:
        return
    yield from _fit_in_loop(state, since)
    yield from _predict_in_loop(state, since)


def _since_first_step(state: RunState) -> float | None:
    """Seconds from the first training step to the last step or call of Keras: what a script does later is its own."""
    if state.first_step_t is None or state.last_step_t is None:
        return None
    since = max(state.last_step_t, state.last_call_t or 0.0) - state.first_step_t
    return since if since > 0.0 else None


def _fit_in_loop(state: RunState, since: float) -> Iterator[Finding]:
    """Time within the calls of fit that is neither a step nor a validation, after the first of them."""
    fits = state.fit_calls
    if fits is None or fits.calls < MANY_FITS or fits.wall_s <= 0.0 or fits.steps > SHORT_FIT_STEPS * fits.calls:
        return
    setup = max(fits.wall_s - fits.inside_s, 0.0)
    share = min(1.0, setup / since)
    severity = severity_of(share)
    if severity is None:
        return
    yield Finding(
        id="host.fit_in_loop",
        severity=severity,
        title=f"{units.share(setup / fits.wall_s)} of the time in fit() is spent on starting it, {fits.calls} times",
        lines=[
            f"{units.duration(setup / fits.calls)} for each start, for {fits.steps / fits.calls:.0f} steps of training",
            f"{units.share(share)} of the time since the first training step",
        ],
        next=(
            "Call fit once for all epochs (a callback can do what stands between the calls), or train_on_batch where "
            "each batch is made by hand."
        ),
        evidence={
            "fits": fits.calls,
            "setup_ms_per_fit": round(setup / fits.calls * 1e3, 2),
            "steps_per_fit": round(fits.steps / fits.calls, 1),
            "share": round(share, 4),
            "share_of_fits": round(setup / fits.wall_s, 4),
        },
        share=share,
    )


def _predict_in_loop(state: RunState, since: float) -> Iterator[Finding]:
    """What many calls of predict or evaluate took besides their batches; fit's validations are no such calls."""
    found = {method: _in_loops(state, method) for method in ("predict", "evaluate")}
    loops = {method: calls for method, calls in found.items() if sum(c.calls for c in calls) >= MANY_PREDICTS}
    every = [calls for of_method in loops.values() for calls in of_method]
    count = sum(calls.calls for calls in every)
    starting = sum(calls.starting_s for calls in every)
    batches = sum(calls.batches for calls in every)
    share = min(1.0, starting / since)
    severity = severity_of(share)
    if severity is None:
        return
    wall = sum(calls.wall_s for calls in every)
    names = " and ".join(f"{method}()" for method in loops)
    each = f"{units.duration(starting / count)} to start each call"
    if batches:
        each += f", {units.duration((wall - starting) / count)} in its {_batches(batches / count)}"
    lines = [each]
    place = _dearest_place(every)
    if place is not None:
        lines.append(f"most of it at {state.places.at(place['file'], place['line'])}" + _in_function(place))
    yield Finding(
        id="host.predict_in_loop",
        severity=severity,
        title=f"{units.share(share)} of the time since the first training step goes into starting {names}, "
        f"{sum(c.count for c in every)} times",
        lines=lines,
        next=_instead("predict" in loops),
        evidence={
            "calls": {method: sum(c.calls for c in found) for method, found in loops.items()},
            "calls_in_all": sum(c.count for c in every),
            "setup_ms_per_call": round(starting / count * 1e3, 2),
            "batches_per_call": round(batches / count, 1) if batches else None,
            "seconds_in_calls": round(wall, 3),
            "place": place,
            "share": round(share, 4),
        },
        share=share,
        incomplete=None if batches else "the batches of these calls were not seen: their time is counted as well",
    )


def explains_callbacks(state: RunState, seconds: float) -> bool:
    """Whether most of the callbacks' seconds are calls that `host.predict_in_loop` names, with their line."""
    loops = [calls for method in ("predict", "evaluate") for calls in _in_loops(state, method)]
    inside = sum(calls.wall_s for calls in loops if calls.latest.in_fit)
    return inside > seconds / 2 and any(f.id == "host.predict_in_loop" for f in findings(state))


def _in_loops(state: RunState, method: str) -> list[PredictTimes]:
    """The calls outside of fit, and those within where they are more than a look after each epoch."""
    many = PREDICTS_AN_EPOCH * max(1, state.epochs_done)
    return [
        calls
        for (_, name, in_fit), calls in state.predict_calls.items()
        if name == method and calls.calls > (many if in_fit else 0)
    ]


def _batches(count: float) -> str:
    return "one batch" if round(count, 1) == 1.0 else f"{units.number(count, 2)} batches"


def _dearest_place(every: list[PredictTimes]) -> CallPlace | None:
    places = [place for calls in every for place in calls.latest.places if {"file", "line", "wall_s"} <= place.keys()]
    return max(places, key=lambda place: float(place["wall_s"]), default=None)


def _in_function(place: CallPlace) -> str:
    name = place.get("function")
    return f", in {name}" if name and name != "<module>" else ""


def _instead(predicts: bool) -> str:
    if predicts:
        return (
            "Call the model itself, model(x, training=False), which starts no loop, within a tf.function where it is "
            "called often; or collect rows, and predict them in one call."
        )
    return "Evaluate all of the data in one call, and less often; a single batch with test_on_batch."
