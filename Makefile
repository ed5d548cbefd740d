PYTHON ?= python

.PHONY: check format test test-all test-oldest bytecode bench pictures docs

check:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -c "from importlinter.cli import lint_imports_command; lint_imports_command()"

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

# Two processes, a file of tests each: most tests wait for a training in a process of its own. What judges whole
# trainings comes after them, one at a time: a machine that is full makes a training wait for its input in truth.
test: bytecode
	$(PYTHON) -m pytest -m "not slow" -n 2 --dist loadfile --ignore tests/e2e
	$(PYTHON) -m pytest -m "not slow" tests/e2e

test-all: bytecode
	$(PYTHON) -m pytest -n 2 --dist loadfile --ignore tests/e2e
	$(PYTHON) -m pytest tests/e2e

# Nearly each test starts interpreters that write none: without it each compiles all that it imports from here.
bytecode:
	$(PYTHON) -m compileall -q tfgpu_tui

# The agent on the oldest versions of the table in docs/limits.md. With the demos `nox -s oldest`; all of the table: `nox`.
test-oldest:
	$(PYTHON) -m nox -s oldest -- -n 2 --dist loadfile tests/agent tests/process/test_stop_training.py

# The pictures of README and docs, drawn by the app from the recordings of real trainings.
RECORDED = demo/recordings
DRAW = $(PYTHON) -m tfgpu_tui --config /dev/null --theme dark
pictures:
	$(DRAW) replay $(RECORDED)/h200-input-bound.jsonl --at 35 --size 120x40 --svg docs/screen.svg
	$(DRAW) replay $(RECORDED)/h200-input-bound.jsonl --at 35 --size 160x45 --svg docs/pictures/input-bound.svg
	$(DRAW) replay $(RECORDED)/h200-input-bound.jsonl --at 35 --size 80x24 --svg docs/pictures/input-bound-80x24.svg
	$(DRAW) replay $(RECORDED)/eight-gpus-one-used.jsonl --at 25 --size 120x40 --svg docs/pictures/eight-gpus.svg
	$(DRAW) compare $(RECORDED)/cpu-input-bound.jsonl $(RECORDED)/cpu-input-parallel.jsonl --size 160x45 \
		--svg docs/pictures/comparison.svg
	$(PYTHON) -m tools.try_picture

# The pages of docs/ as a site in build/site; a link that leads nowhere fails. Needs the extra `docs`.
docs:
	$(PYTHON) -m mkdocs build --strict

# Tables of what the monitor costs. Apart from the tests: timings need a quiet machine.
bench:
	$(PYTHON) -m benchmarks.start_latency
	$(PYTHON) -m benchmarks.interpreter_start
	$(PYTHON) -m benchmarks.overhead
	$(PYTHON) -m benchmarks.clock_ops
	$(PYTHON) -m benchmarks.accuracy
	$(PYTHON) -m benchmarks.placement
	$(PYTHON) -m benchmarks.screen_cost
	$(PYTHON) -m benchmarks.nvml_faults
	$(PYTHON) -m benchmarks.preflight
	$(PYTHON) -m benchmarks.output_speed
	$(PYTHON) -m benchmarks.long_run --per-window 16
	$(PYTHON) -m benchmarks.stops --times 5
	$(PYTHON) -m benchmarks.fuzz
	$(PYTHON) -m benchmarks.try_demos --repeats 1
