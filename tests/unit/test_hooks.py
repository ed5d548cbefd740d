"""Hooks that find nothing to patch say so, and what is noted of the user's objects goes with them."""

from __future__ import annotations

import gc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tfgpu_tui.agent.hooks import imports, runtime
from tfgpu_tui.agent.hooks.marks import Marks
from tfgpu_tui.agent.input import pipeline
from tfgpu_tui.agent.looks import debug_switches, describe
from tfgpu_tui.agent.placement import placement_record
from tfgpu_tui.agent.steps import custom_loop


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The hooks that were said to be off, with the reason."""
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(runtime, "_off", set())
    monkeypatch.setattr(runtime, "send", lambda kind, hook, reason: told.append((hook, reason)))
    return told


def without(name: str) -> Any:
    """A module that lacks whatever a patch looks for."""
    return SimpleNamespace(__name__=name)


PATCHES: dict[str, tuple[Callable[[Any], None], Any]] = {
    "describe.before_training": (describe._before_training, without("keras.src.engine.training")),
    "describe.data_handlers": (describe._data_handlers, without("keras.src.engine.data_adapter")),
    "describe.epoch_iterators": (describe._epoch_iterators, without("keras.src.backend.tensorflow.trainer")),
    "custom_loop.keras2_optimizer": (custom_loop._keras2_optimizer, without("keras.src.optimizers.optimizer")),
    "pipeline.at_epoch_end": (pipeline._at_epoch_end, without("keras.src.callbacks")),
    "debug_switches.watch": (debug_switches._watch, without("tensorflow.python.data.ops.debug_mode")),
    "placement_record.patch": (placement_record._patch_loss("Loss"), without("keras.src.losses")),
}


@pytest.mark.parametrize("hook", PATCHES)
def test_a_hook_that_finds_nothing_to_patch_says_so(
    hook: str, said: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    patch, module = PATCHES[hook]
    monkeypatch.setattr(imports, "_patches", {})
    monkeypatch.setattr(imports, "watch", lambda name, guarded: guarded(module))
    runtime.on_import(module.__name__)(patch)
    ((name, reason),) = said
    assert name == hook
    assert "has no" in reason or reason.startswith("LookupError: no ")


def test_the_optimizers_of_keras_3_have_the_hook_of_their_base(said: list[tuple[str, str]]) -> None:
    optimizer = type("Optimizer", (type("BaseOptimizer", (), {"apply": None, "apply_gradients": None}),), {})
    module = SimpleNamespace(__name__="keras.src.optimizers.optimizer", Optimizer=optimizer)
    custom_loop._keras2_optimizer(module)  # type: ignore[arg-type]
    placement_record._patch_optimizer("Optimizer", "apply_gradients")(module)
    assert vars(optimizer).keys() <= vars(type("Empty", (), {})).keys() and said == []


class Thing:
    """A user's object."""


def test_a_mark_lies_beside_the_object_and_goes_with_it() -> None:
    marks, thing, other = Marks(), Thing(), Thing()
    assert marks.put(thing, "noted")
    assert (marks.get(thing), marks.get(other), marks.get(other, "none")) == ("noted", None, "none")
    assert vars(thing) == {}
    assert marks.put(thing, "again") and marks.get(thing) == "again"
    del thing
    gc.collect()
    assert len(marks) == 0


def test_a_mark_is_not_taken_for_that_of_an_object_in_the_same_place() -> None:
    marks, thing = Marks(), Thing()
    marks.put(thing, True)
    # As if a new object had come to lie where the other one was, before that was noticed.
    marks._values[id(new := Thing())] = marks._values[id(thing)]
    assert marks.get(new) is None and marks.get(thing) is True


def test_what_can_not_be_held_weakly_is_not_noted() -> None:
    marks = Marks()
    assert not marks.put(3, True)
    assert marks.get(3) is None and len(marks) == 0
