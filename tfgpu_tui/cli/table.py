"""The verbs: what each is for, its arguments, and the function that does it, which is loaded when it is called."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any, NamedTuple

from tfgpu_tui.runs import configuration
from tfgpu_tui.supervisor import launch


class Verb(NamedTuple):
    """A row of the table. `run` returns the exit status."""

    takes: str
    """The arguments that most need, as the usage shows them."""
    help: str
    arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]
    script: bool = False
    """Whether a script and its arguments stand behind its options."""


def add_screen_options(parser: Any) -> None:
    """How the machine is sampled and the screen drawn: before a script, and behind the verbs that have a screen."""
    add = parser.add_argument
    add("--interval", metavar="SECONDS", help="how often the machine is sampled (default 0.5)")
    default = str(configuration.default_path() or "none: there is no home folder").replace("%", "%%")
    add("--config", metavar="FILE", help=f"settings (default {default})")
    add("--ascii", action="store_true", default=None, help="draw with plain ASCII characters")
    add("--theme", metavar="NAME", help="colours of the screen: dark, light, ansi, or a theme of Textual")


def add_run_options(parser: Any) -> None:
    """How a script is run: before a script, and behind `demo`."""
    add = parser.add_argument
    add("--headless", action="store_true", default=None, help="no screen: the script's stdout and stderr as they are, "
        "and a report on stderr at the end; chosen by itself without a terminal")  # fmt: skip
    add("--report-json", metavar="PATH", help="also write the report there when the run ends, however it ends")
    add("--set", metavar="KNOB=VALUE", action="append", default=[], help="change a setting for this run, as often as "
        "needed")  # fmt: skip
    add("--python", metavar="PATH", help="the interpreter (default: the active environment's python)")
    add("--stop-after", metavar="STEPS", help="end the training after so many steps, for a quick look")
    add("--stall-after", metavar="SECONDS", help="say that the training stands still after so long without a step "
        "(default 60, and 20 times a step); 0 is never")  # fmt: skip
    add(
        "--metrics", metavar="WHERE", help="tell them to Prometheus while it runs: HOST:PORT, unix:PATH, or a FILE.prom"
    )
    add("--on-finding", metavar="COMMAND", help="run it once for each new finding, with the finding as JSON on stdin")
    add("--on-finding-severity", metavar="LEVEL", help="for findings from here on: critical, warning (default), info")
    add("--plain", action="store_true", default=None, help="a line of text every few seconds, not the screen")


def _add_plain(parser: ArgumentParser) -> None:
    parser.add_argument("--plain", action="store_true", default=None, help="lines of text, not the screen")


def _add_run(parser: ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="an id, the beginning of one, `last`, or a path")


def _add_json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for scripts")


def _add_size(parser: ArgumentParser) -> None:
    parser.add_argument("--size", metavar="COLUMNSxROWS", help="with --svg: default 120x40")


def _attach_arguments(parser: ArgumentParser) -> None:
    add_screen_options(parser)
    _add_plain(parser)
    parser.add_argument(
        "run",
        nargs="?",
        metavar="RUN",
        help="default: the newest run that is running, else the newest; HOST:RUN goes there over ssh; an experiment "
        "of `try` by its id",
    )


def _runs_arguments(parser: ArgumentParser) -> None:
    _add_json(parser)
    parser.add_argument("--prune", nargs="?", type=int, const=20, metavar="KEEP",
                        help="delete all but the newest KEEP (20) runs")  # fmt: skip


def _prune_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--keep", type=int, metavar="N", help="keep the newest N (20, where nothing else is said)")
    add("--older-than", type=float, metavar="DAYS", help="delete what was started longer ago")
    add("--total-size", metavar="SIZE", help="delete the oldest until all runs together are smaller, e.g. 2G")


def _stop_arguments(parser: ArgumentParser) -> None:
    _add_run(parser)
    parser.add_argument("--stage", choices=launch.STAGES, default="batch",
                        help="how to begin; harder ones follow by themselves")  # fmt: skip


def _replay_arguments(parser: ArgumentParser) -> None:
    add_screen_options(parser)
    _add_plain(parser)
    _add_run(parser)
    add = parser.add_argument
    add("--speed", type=float, default=1.0, metavar="TIMES", help="2 is twice as fast")
    add("--svg", metavar="FILE", help="no screen: write a picture of it there")
    add("--at", type=float, metavar="SECONDS", help="with --svg: at this time of the run (default: its end)")
    _add_size(parser)


def _report_arguments(parser: ArgumentParser) -> None:
    _add_run(parser)
    _add_json(parser)
    parser.add_argument("--html", metavar="FILE", help="one page with plots, that opens without a network")
    parser.add_argument("--tensorboard", metavar="DIR", help="series and findings as event files for TensorBoard")


def _compare_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("before", metavar="RUN", help="to compare with: an id, the beginning of one, `last`, or a path")
    parser.add_argument("after", metavar="RUN", help="the one that is judged")
    add_screen_options(parser)
    parser.add_argument("--svg", metavar="FILE", help="write a picture of the screen that compares them there")
    parser.add_argument("--fail-if", metavar="LIMIT", action="append", default=[],
                        help="exit status 1 where the second run is beyond it by more than the noise, 3 where that "
                        "can't be told: 'step_time > +5%%', 'examples/s < -5%%', 'input_wait > +3 points', "
                        "'memory > +10%%', 'gpu_memory > +10%%'")  # fmt: skip
    _add_size(parser)
    _add_json(parser)


def _explain_arguments(parser: ArgumentParser) -> None:
    _add_json(parser)
    parser.add_argument("id", nargs="?", metavar="ID",
                        help="as a report names it, for example input.bound (default: the list)")  # fmt: skip


def _doctor_arguments(parser: ArgumentParser) -> None:
    _add_json(parser)
    parser.add_argument("--python", metavar="PATH",
                        help="the interpreter to look at (default: the active environment's)")  # fmt: skip


def _demo_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("name", nargs="?", metavar="NAME", help="a script or a recording (default: slow_map, a training that waits for "
        "its input)")  # fmt: skip
    add("arguments", nargs="*", metavar="ARGUMENT", help="for the script: how many epochs or rounds")
    add("--list", action="store_true", help="all demos and recordings, with a line on each")
    add("--replay", action="store_true", help="the recording of it, also where TensorFlow is installed")
    add_run_options(parser)
    add_screen_options(parser)


def _try_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--budget", metavar="TIME", help="for all trials together: 90s, 5m (default), 1h")
    add("--steps", metavar="STEPS", help="end each trial after so many steps at the latest")
    add("--knobs", metavar="KNOB=VALUE,…", action="append", default=[], help="try these, each by itself (default: what "
        "could matter for this script)")  # fmt: skip
    add("--set", metavar="KNOB=VALUE", action="append", default=[], help="a setting of all trials")
    add("--python", metavar="PATH", help="the interpreter (default: the active environment's python)")
    add("--yes", action="store_true", help="go on without being asked where the script writes files")
    add("--resume", metavar="GROUP", help="go on with an experiment that was stopped, or whose time was over; `last`")
    add("--headless", action="store_true", default=None, help="no screen: a line for each trial, then the table; "
        "chosen by itself without a terminal")  # fmt: skip
    add("--config", metavar="FILE", help="settings")
    add("--ascii", action="store_true", default=None, help="draw with plain ASCII characters")
    add("--theme", metavar="NAME", help="colours of the screen: dark, light, ansi, or a theme of Textual")
    _add_json(parser)


def _bundle_arguments(parser: ArgumentParser) -> None:
    _add_run(parser)
    add = parser.add_argument
    add("--output", metavar="FILE", help="default: tfgpu-tui-report.tar.gz in this folder")
    add("--yes", action="store_true", help="write it without being asked")


def _exporter_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "run", nargs="?", metavar="RUN", help="only this one, until it has ended (default: all live runs)"
    )
    parser.add_argument("--metrics", metavar="WHERE",
                        help="HOST:PORT (default 127.0.0.1:9455), unix:PATH, or a FILE.prom")  # fmt: skip


def _fleet_arguments(parser: ArgumentParser) -> None:
    add_screen_options(parser)
    _add_plain(parser)
    _add_json(parser)
    parser.add_argument("--hosts", metavar="HOSTS", help="read them over ssh: HOST,HOST or a file with one in a line")
    parser.add_argument("job", nargs="?", metavar="JOB", help="only the ranks of this job, or of those that begin so")


def _journal_arguments(parser: ArgumentParser) -> None:
    _add_run(parser)
    add = parser.add_argument
    add("--follow", action="store_true", help="go on until the run is over")
    add("--from", dest="start", metavar="PART:LINE", help="where a reader that lost its link stood; 0:0 begins at the "
        "newest state")  # fmt: skip


def _fleet(options: Namespace) -> int:
    from tfgpu_tui.cli import fleets

    return fleets.fleet(options)


def _journal(options: Namespace) -> int:
    from tfgpu_tui.cli import journal_lines

    return journal_lines.journal(options)


def _exporter(options: Namespace) -> int:
    from tfgpu_tui.cli import exporting

    return exporting.exporter(options)


def _attach(options: Namespace) -> int:
    from tfgpu_tui.cli import watching

    return watching.attach(options)


def _runs(options: Namespace) -> int:
    from tfgpu_tui.cli import managing

    return managing.runs(options)


def _prune(options: Namespace) -> int:
    from tfgpu_tui.cli import managing

    return managing.prune(options)


def _stop(options: Namespace) -> int:
    from tfgpu_tui.cli import managing

    return managing.stop(options)


def _replay(options: Namespace) -> int:
    from tfgpu_tui.cli import watching

    return watching.replay(options)


def _report(options: Namespace) -> int:
    from tfgpu_tui.cli import telling

    return telling.report(options)


def _compare(options: Namespace) -> int:
    from tfgpu_tui.cli import telling

    return telling.compare(options)


def _explain(options: Namespace) -> int:
    from tfgpu_tui.cli import telling

    return telling.explain(options)


def _demo(options: Namespace) -> int:
    from tfgpu_tui.cli import demos

    return demos.demo(options)


def _doctor(options: Namespace) -> int:
    from tfgpu_tui.cli import telling

    return telling.doctor(options)


def _try(options: Namespace) -> int:
    from tfgpu_tui.cli import trying

    return trying.try_settings(options)


def _bundle(options: Namespace) -> int:
    from tfgpu_tui.cli import bundling

    return bundling.bundle(options)


VERBS = {
    "demo": Verb("[NAME]", "try it: a training that waits for its input;  --list shows all", _demo_arguments, _demo),
    "try": Verb(
        "train.py …",
        "one run for each setting that could help; exit status 0: one does, 1: none",
        _try_arguments,
        _try,
        script=True,
    ),
    "attach": Verb("[RUN]", "the screen of a run (default: the newest that is running)", _attach_arguments, _attach),
    "runs": Verb("[--json]", "all runs", _runs_arguments, _runs),
    "prune": Verb("", "delete old runs: --keep N, --older-than DAYS, --total-size 2G", _prune_arguments, _prune),
    "stop": Verb("RUN", "stop a run after its current batch", _stop_arguments, _stop),
    "replay": Verb("RUN", "watch a run again;  --svg FILE writes a picture of the screen", _replay_arguments, _replay),
    "report": Verb(
        "RUN [--json]", "what was found in a run;  --html FILE, --tensorboard DIR", _report_arguments, _report
    ),
    "compare": Verb("RUN RUN [--json]", "the measured difference between two runs", _compare_arguments, _compare),
    "explain": Verb(
        "[ID] [--json]",
        "what a finding means, and what to do about it; without ID: all findings",
        _explain_arguments,
        _explain,
    ),
    "fleet": Verb(
        "[JOB]", "all live runs, and the ranks of a job side by side;  --hosts HOSTS", _fleet_arguments, _fleet
    ),
    "journal": Verb("RUN", "a run's events as they are, a line of JSON each;  --follow", _journal_arguments, _journal),
    "exporter": Verb("[RUN]", "live runs as Prometheus metrics;  --metrics WHERE", _exporter_arguments, _exporter),
    "doctor": Verb(
        "[--json]", "exit status 0: a GPU will be used; 1: it won't, and why; 2: can't tell", _doctor_arguments, _doctor
    ),
    "bundle": Verb(
        "RUN", "an archive for a bug report: journal, report, doctor; names are replaced", _bundle_arguments, _bundle
    ),
}
"""In the order of the usage."""
