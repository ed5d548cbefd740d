"""Knob precision: Keras' global policy is the one that was asked for, whatever the script sets.

`set_dtype_policy` in keras/src/dtype_policies/dtype_policy.py and `clear_session` in keras/src/backend/common/
global_state.py (Keras 3.3 to 3.15); `set_global_policy` in keras/src/mixed_precision/policy.py (Keras 2.15, tf_keras
2.21). A layer with a policy or dtype of its own keeps it.
"""

from __future__ import annotations

import functools
import sys
from typing import Any, Callable

from ..hooks.runtime import asked_knobs, guarded, on_import
from ..looks import script_calls

_set: "list[Callable[[Any], Any]]" = []


def _keep(module: Any, name: str) -> Callable[[Any], Any]:
    """The setter takes the asked policy from now on; returns the original."""
    original: Callable[[Any], Any] = getattr(module, name)
    wanted = asked_knobs()["precision"]

    @functools.wraps(original)
    def setter(policy: Any) -> Any:
        given = getattr(policy, "name", policy)
        if given == wanted:
            return original(policy)
        script_calls.note("set_global_policy", given, sys._getframe(1))
        return original(wanted)

    setattr(module, name, setter)
    return original


@on_import("keras.src.dtype_policies.dtype_policy")
def _keras3(module: Any) -> None:
    wanted = asked_knobs()["precision"]
    set_policy, get_policy = _keep(module, "set_dtype_policy"), module.dtype_policy

    @functools.wraps(get_policy)
    def dtype_policy() -> Any:
        # Keras keeps the policy by thread, and `clear_session` forgets it.
        policy = get_policy()
        if policy.name != wanted:
            set_policy(wanted)
            policy = get_policy()
        return policy

    module.dtype_policy = dtype_policy
    set_policy(wanted)


@guarded("knob_precision")
def _keras2_policy(set_policy: Callable[[Any], Any]) -> None:
    set_policy(asked_knobs()["precision"])


def _keras2(module: Any) -> None:
    _keras2_policy(_keep(module, "set_global_policy"))


for _name in ("keras.src.mixed_precision.policy", "tf_keras.src.mixed_precision.policy"):
    on_import(_name)(_keras2)
