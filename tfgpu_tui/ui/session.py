"""One sitting in front of a run and its reruns: reads the feed, judges, stops and starts again. Knows no Textual."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from tfgpu_tui.core import knobs
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose import Finding, FindingLog, diagnose
from tfgpu_tui.runs.journal import last_event
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.ui.control import ERRORS, Control
from tfgpu_tui.ui.draw import Glyphs
from tfgpu_tui.ui.feed import Feed, ReplayClock
from tfgpu_tui.ui.keys import ALL, Key
from tfgpu_tui.ui.view import RANGES_S, Past, Replay, View

if TYPE_CHECKING:
    from tfgpu_tui.ui.experiment import Experiment

READ_BUDGET_S = 0.07
"""Of a tick of 0.1 s while there is history to read: most of the time goes into reading, and the keys still answer."""
DIAGNOSE_PERIOD_S = 0.8
"""Of ticks of half a second every second one, though a timer is late or early."""
CALM_PERIOD_S, CALM_AFTER = 1.8, 20
"""Every fourth one, once so many verdicts one after the other named the same findings."""
ALIVE_PERIOD_S = 3.0
NOTICE_S = 6.0
PRECIOUS_S = 120.0
"""A run that trained for longer is not stopped for a rerun without being asked about."""
PAST_FINDINGS = 50
SEEK_S = 5.0
SLOWEST, FASTEST = 1 / 16, 256.0
LEAST_BUDGET_S = 30.0
"""For an experiment that goes on after it asked."""


def trained_words(seconds: float) -> str:
    """What is lost with a run that is stopped; a person reads it after the run's name."""
    return f"has trained for {seconds / 60:.0f} minutes; what the script did not save is lost"


class Session:
    """What the app shows (`view`) and what its keys do to the run. Every refusal is said in `view.notice`."""

    def __init__(
        self,
        run: RunDir,
        control: Control,
        glyphs: Glyphs,
        replay: ReplayClock | None = None,
        keys: tuple[Key, ...] = ALL,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.control = control
        self.compare_open = False
        self._clock = clock
        self._compared = False
        self._findings = FindingLog()
        self._unchanged = 0
        """Verdicts that named the findings of the one before."""
        self._diagnosed_at = self._alive_at = self._notice_until = 0.0
        self._knows_run = False
        self._seen_running = False
        self._before_feed: Feed | None = None
        self.experiment: Experiment | None = None
        """The experiment whose trials are shown one after the other."""
        self.feed = self._open(run, replay)
        self.view = View(state=self.feed.state, lines=self.feed.lines, glyphs=glyphs, keys=keys, behind=0)
        self._show_replay()

    @property
    def over(self) -> bool:
        """True where there is nothing left to stop: the run ended, was lost, or is a recording."""
        return self.view.state.ended is not None or self.view.lost or self.view.replay is not None

    @property
    def rerun_pending(self) -> bool:
        """True where a rerun of this run was asked for, at whatever screen, and starts when the script has ended."""
        return self.view.state.rerun is not None and self.view.state.rerun.pending

    @property
    def behind(self) -> bool:
        """True while there is history to read, of this run or of the one before it."""
        return not self.feed.paused and (self.feed.behind or self._before_behind)

    @property
    def hurries(self) -> bool:
        """True where the next tick is too late: there is history to read, or a run that was just started is awaited."""
        return self.behind or (self.view.state.run is None and not self.over)

    @property
    def _before_behind(self) -> bool:
        return self._before_feed is not None and self._before_feed.behind

    def close(self) -> None:
        """Gives the files back."""
        self.feed.close()
        if self._before_feed is not None:
            self._before_feed.close()

    # Reading.

    def read(self) -> None:
        """Takes in what is new, within its time, and what follows from it."""
        if self._before_feed is not None and self._before_feed.behind and not self.feed.behind:
            try:
                self._before_feed.advance(READ_BUDGET_S)
            except OSError as error:
                self._before_feed = self.view.before = None
                self.say(f"the run before can't be read: {error.strerror}")
        try:
            changed = self.feed.advance(READ_BUDGET_S)
        except OSError as error:
            self.say(f"the journal can't be read: {error.strerror}")
            return
        view, feed = self.view, self.feed
        view.behind = feed.events if feed.behind else None
        if not feed.paused:
            view.now = feed.now(self._clock())
        if changed and not feed.behind:
            self._learn()
        self._compare_when_due()

    def look_after_run(self) -> None:
        """Old notices, a supervisor that is gone, a rerun that has begun."""
        now = time.monotonic()
        if self.view.notice is not None and now >= self._notice_until:
            self.view.notice = None
        if self.experiment is not None:
            self._follow_experiment(self.experiment)
        if self.view.replay is not None or self.feed.behind:
            return
        if self.view.state.ended is None and now - self._alive_at >= ALIVE_PERIOD_S:
            self._alive_at = now
            self.view.lost = not self._is_running()
        self._seen_running = self._seen_running or not self.over
        if self._seen_running and self.over:
            self._follow_rerun()

    def say(self, words: str) -> None:
        """One sentence in the status line, for some seconds."""
        self.view.notice = words
        self._notice_until = time.monotonic() + NOTICE_S

    def _open(self, run: RunDir, replay: ReplayClock | None = None, at: float | None = None) -> Feed:
        log = self._findings = FindingLog()
        self._knows_run = False
        return Feed(run, replay, at, look=lambda state: self._judge(log, state))

    def _judge(self, log: FindingLog, state: RunState) -> None:
        found = log.update(diagnose(state), state.now, state.standing)
        if log is not self._findings:
            return
        standing = {finding.id for finding, _ in found}
        gone = [Past(f, since, state.now) for f, since in self.view.findings if f.id not in standing]
        same = [f.id for f, _ in found] == [f.id for f, _ in self.view.findings]
        self._unchanged = self._unchanged + 1 if same else 0
        self.view.past = [*gone, *self.view.past][:PAST_FINDINGS]
        self.view.findings = found

    def _learn(self) -> None:
        state = self.view.state
        if state.run is not None and not self._knows_run:
            self._knows_run = True
            self.view.next_knobs = self.view.next_knobs or dict(state.run.knobs)
            self._find_parent(state.run.parent)
        if not self.over and (state.wall_s or 0.0) < DIAGNOSE_PERIOD_S:
            return  # a run that has just begun: there is nothing to say yet, and the first paint is not kept waiting
        now = time.monotonic()
        period_s = CALM_PERIOD_S if self._unchanged >= CALM_AFTER else DIAGNOSE_PERIOD_S
        if now - self._diagnosed_at >= period_s or state.ended is not None:
            self._diagnosed_at = now
            self._judge(self._findings, state)

    def _find_parent(self, parent: str | None) -> None:
        """The run that this one was started from, where this sitting did not see it itself."""
        if parent is None or self.view.before is not None:
            return
        try:
            run = self.control.find(parent)
        except ERRORS:
            return  # its folder was deleted: there is nothing to compare with
        self._before_feed = Feed(run)
        self.view.before = self._before_feed.state

    def _compare_when_due(self) -> None:
        """Opens the comparison, once, when both runs have enough steps to say something beyond the noise."""
        before = self.view.before
        if before is None or self._compared or self._before_behind or self.feed.behind:
            return
        from tfgpu_tui.report import compare  # late: few runs have one before them

        if compare.ready(before, self.view.state):
            self._compared = self.compare_open = True
            self.say("c closes the comparison")

    def _is_running(self) -> bool:
        try:
            return self.control.is_running(self.feed.run)
        except ERRORS:
            return False

    # What the keys do.

    def toggle_freeze(self) -> None:
        """Holds the view still, or lets it go on."""
        if self.feed.replay is not None:
            self.feed.replay.hold(not self.feed.replay.held)
            self._show_replay()
        elif self.view.frozen_since is None:
            self.view.frozen_since = self.view.now
            self.feed.paused = True
        else:
            self.view.frozen_since = None
            self.feed.paused = False

    def change_range(self, step: int, around: bool = False) -> float | None:
        """How much time the plots show: the next range (or the one before), `around` the end of the list or not."""
        at = RANGES_S.index(self.view.range_s) + step
        self.view.range_s = RANGES_S[at % len(RANGES_S) if around else max(0, min(len(RANGES_S) - 1, at))]
        return self.view.range_s

    # A replay.

    def seek(self, steps: int) -> None:
        """Goes on or back in the recording, by 5 s or a twentieth of it."""
        replay, started = self.feed.replay, self.view.state.started
        if replay is None or not replay.started or started is None or self.view.replay is None:
            self.say("this run is live: only a replay can be moved")
            return
        ends = self.view.replay.ends or self.view.state.now
        now = min(ends, replay.position)
        self.go_to(max(started, min(ends, now + steps * max(SEEK_S, (ends - started) / 20))))

    def go_to(self, t: float) -> None:
        """The recording at the time `t`: read from the checkpoint before it, where that is shorter."""
        replay = self.feed.replay
        if replay is None:
            return
        replay.go_to(t)
        if self.feed.is_far(t):
            old = self.feed
            self.feed = self._open(old.run, replay, t)
            old.close()
            self.view = replace(
                self.view, state=self.feed.state, lines=self.feed.lines, findings=[], past=[], now=t, behind=0
            )
        self.read()

    def change_speed(self, factor: float) -> None:
        """Half or twice the speed of a replay."""
        replay = self.feed.replay
        if replay is None:
            self.say("this run is live: only a replay has a speed")
            return
        replay.change_speed(max(SLOWEST, min(FASTEST, replay.speed * factor)))
        self._show_replay()

    def _show_replay(self) -> None:
        replay = self.feed.replay
        if replay is None:
            self.view.replay = None
            return
        if self.view.replay is None:
            last = last_event(self.feed.run.journal)
            self.view.replay = Replay(replay.speed, replay.held, last.t if last else None)
        else:
            self.view.replay = replace(self.view.replay, speed=replay.speed, paused=replay.held)

    def toggle_compare(self) -> None:
        """Opens or closes the comparison."""
        if self.view.before is None:
            self.say("nothing to compare yet: r reruns this script")
            return
        self.compare_open = not self.compare_open
        self._compared = True

    def step_knob(self, name: str) -> None:
        """A setting of the next run: its next value."""
        if not self.refused():
            self._set_knob(name, knobs.following(name, self.view.next_knobs.get(name)))

    def set_knob(self, name: str, value: str) -> None:
        """A setting of the next run, as its reader typed it; it was found right by `wrong_value`."""
        if not self.refused():
            wanted = knobs.parse([f"{name}={value.strip() or knobs.SCRIPT}"])
            self._set_knob(name, wanted.get(name, knobs.SCRIPT))

    @staticmethod
    def wrong_value(name: str, value: str) -> str | None:
        """What is wrong with a setting that was typed; None where it can be that."""
        try:
            knobs.parse([f"{name}={value.strip() or knobs.SCRIPT}"])
        except knobs.KnobError as error:
            return str(error)
        return None

    def _set_knob(self, name: str, value: str) -> None:
        others = {k: v for k, v in self.view.next_knobs.items() if k != name}
        self.view.next_knobs = others if value == knobs.SCRIPT else {**others, name: value}

    def choose(self, finding: Finding | None) -> bool:
        """Takes a finding's knob into the settings of the next run; False, and said, where it has none."""
        if finding is None or finding.knob is None:
            self.say("no finding to try" if finding is None else "this finding needs a change in the script")
            return False
        if self.refused():
            return False
        self.view.next_knobs = {**self.view.next_knobs, **knobs.parse([finding.knob])}
        return True

    def refused(self) -> bool:
        """True, and said, where nothing can be started or stopped."""
        if self.experiment is not None:
            chooses = "an experiment chooses the settings of its trials"
            self.say(chooses if self.trying else f"this is a trial of an experiment: {self.view.key('quit')} leaves it")
        elif self.view.replay is not None:
            self.say("this is a replay: the run is over")
        elif self.rerun_pending and not self.over:
            self.say("a rerun is already on its way")
        elif self.feed.behind:
            # How long it trained, and so what a stop would throw away, is not known before that.
            self.say("one moment: the run's history is still being read")
        else:
            return False
        return True

    def trained_s(self) -> float:
        """Seconds from the first step to the last: what a rerun would throw away; 0 for a run that is over."""
        state = self.view.state
        if self.over or state.first_step_t is None or state.last_step_t is None:
            return 0.0
        return state.last_step_t - state.first_step_t

    def foreign_command(self) -> str | None:
        """What a rerun would start where this run may be somebody else's; None for one of ours. Raises one of
        control.ERRORS."""
        return self.control.foreign_command(self.feed.run)

    def rerun(self, confirmed: str | None = None) -> None:
        """Asks the run to stop after its batch; its supervisor starts the new one when it has ended, with a screen or
        without. A run that is over has none: it is started again from here. `confirmed` is the foreign command that was
        said yes to."""
        if self.view.frozen_since is not None:
            self.toggle_freeze()
        asked = dict(self.view.next_knobs)
        if self.over:
            self._start_again(asked, confirmed)
            return
        try:
            self.control.rerun(self.feed.run, asked)
        except ERRORS as error:
            self.say(str(error))
        else:
            self.say("rerun asked for: this run stops, and it starts by itself")

    def stop(self, stage: str) -> bool:
        """Asks the run to stop, and takes a rerun of it back; False, and said, where it can't be asked."""
        pending = self.rerun_pending
        try:
            self.control.stop(self.feed.run, stage)
        except ERRORS as error:
            self.say(str(error))
            return False
        leave = f"{self.view.key('quit')} leaves once it has ended"
        self.say(f"no rerun: the training only stops; {leave}" if pending else f"asked the training to stop; {leave}")
        return True

    def resize(self, columns: int, rows: int) -> None:
        """Tells the script's terminal its size."""
        try:
            self.control.resize(self.feed.run, columns, rows)
        except ERRORS:
            return  # it ended meanwhile, and has no terminal any more

    def _start_again(self, asked: dict[str, str], confirmed: str | None) -> None:
        try:
            again = self.control.start_again(self.feed.run, asked, confirmed)
        except ERRORS as error:
            self.say(f"the rerun did not start: {error}")
            return
        if again.new:
            self._show_rerun(again.run, asked)
        else:
            self._show_rerun(again.run, {})
            self.say(f"this is {again.run.id}, a rerun of that run, which was started already")

    def _follow_rerun(self) -> None:
        """To the run that the supervisor of this one has started."""
        rerun = self.view.state.rerun
        self._seen_running = False  # once: its reader may come back to this run
        if rerun is None or rerun.state != "begun" or not rerun.id or "/" in rerun.id:
            return
        beside = RunDir(self.feed.run.path.with_name(rerun.id))
        try:
            run = beside if beside.meta_path.exists() else self.control.find(rerun.id)
        except ERRORS as error:
            self.say(f"the rerun can't be shown: {error}")
            return
        self._show_rerun(run, rerun.knobs)

    def _show_rerun(self, run: RunDir, asked: dict[str, str]) -> None:
        from tfgpu_tui.report import compare

        before = self.view.state
        self.show(run, before=before)
        self.view.next_knobs = dict(asked)
        long_enough = compare.ready(before, before)
        later = "the comparison opens by itself" if long_enough else "the run before is too short to compare with"
        self.say(f"rerun started; {later}")
        self.read()

    # An experiment: trials of this script, one after the other.

    @property
    def trying(self) -> bool:
        """True while an experiment goes on that is on the screen."""
        return self.experiment is not None and (self.view.trials is None or not self.view.trials.over)

    def follow(self, experiment: Experiment) -> None:
        """Shows the trials of an experiment from here on."""
        self.experiment = experiment
        self.compare_open, self._compared = False, True
        self._follow_experiment(experiment)

    def _follow_experiment(self, experiment: Experiment) -> None:
        before = self.view.trials
        self.view.trials = experiment.read()
        run = experiment.run()
        if self.trying and run is not None and run != self.feed.run:
            self.show(run)
            self.read()
        elif before is not None and not before.over and not self.trying and not experiment.asks:
            leave = self.view.key("quit")
            self.say(f"the experiment is over: {leave} leaves, and the table is printed")

    def try_settings(self, budget_s: float) -> None:
        """Begins an experiment with this script; a run of it that goes on is stopped first."""
        if self.view.frozen_since is not None:
            self.toggle_freeze()
        from tfgpu_tui.ui.experiment import Experiment  # late: few ask for one

        try:
            group_id, process = self.control.try_settings(self.feed.run, budget_s)
        except ERRORS as error:
            self.say(str(error))
        else:
            self.follow(Experiment(group_id, process))
            self.say("the experiment begins" if self.over else "this run stops, then the experiment begins")

    def go_on_trying(self) -> None:
        """The trials may write what the first one wrote."""
        if self.experiment is None or self.experiment.group is None:
            return
        group = replace(self.experiment.group, may_write=True)
        left_s = max(LEAST_BUDGET_S, group.left_s or 0.0)
        try:
            self.experiment.go_on(self.control.go_on_trying(replace(group, budget_s=left_s)))
        except ERRORS as error:
            self.say(str(error))
        self._follow_experiment(self.experiment)

    def stop_trying(self) -> None:
        """Ends the trial that runs, and the experiment; a second time without patience."""
        if self.experiment is None or self.experiment.group is None:
            return
        try:
            self.control.stop_trying(self.experiment.group)
        except ERRORS as error:
            self.say(str(error))
        else:
            self.experiment.stops += 1
            self.say("the experiment ends; then its table is printed")

    # Other runs.

    def show(self, run: RunDir, replay: ReplayClock | None = None, before: RunState | None = None) -> None:
        """Another run in this sitting, live or again from its beginning."""
        self.close()
        self._before_feed = None
        self.feed = self._open(run, replay)
        self.view = replace(
            self.view, state=self.feed.state, lines=self.feed.lines, findings=[], past=[], before=before,
            next_knobs={}, search=None, folded=frozenset(), only_off_gpu=False, frozen_since=None, behind=0,
            replay=None, notice=None, lost=False, now=self._clock(),
        )  # fmt: skip
        self._show_replay()
        self._compared = self.compare_open = False
        self._seen_running = False
        self._alive_at = time.monotonic()

    def compare_with(self, run: RunDir) -> None:
        """Sets this run against another one."""
        if self._before_feed is not None:
            self._before_feed.close()
        self._before_feed = Feed(run)
        self.view.before = self._before_feed.state
        self.compare_open = self._compared = True

    def profile(self) -> None:
        """Asks for the time by layer over a few steps."""
        if self.over:
            self.say("the script is over: there is nothing to measure")
            return
        try:
            self.control.profile(self.feed.run)
        except ERRORS as error:
            self.say(str(error))
        else:
            self.say("measuring the next steps by layer: ms come in placement")

    def types_unseen(self) -> bool:
        """True where the script's terminal does not show what is typed: neither does the screen."""
        try:
            return not self.over and self.control.types_unseen(self.feed.run)
        except ERRORS:
            return False  # sending the line says why

    def send_line(self, text: str, end: str = "\r") -> bool:
        """Types a line to the script; False, and said, where it can't be sent."""
        if self.over:
            self.say("the script is over: nobody reads what is typed")
            return False
        try:
            self.control.send_input(self.feed.run, text + end)
        except ERRORS as error:
            self.say(str(error))
            return False
        return True
