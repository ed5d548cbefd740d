"""Patch a module right after python executed it, and leave no other trace of having looked.

Only leaf modules are patched, by name: TensorFlow's own import order stays as it is, and a module that a version does
not have is simply never seen.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Optional

Patch = Callable[[ModuleType], None]

_patches: dict[str, list[Patch]] = {}


def watch(name: str, patch: Patch) -> None:
    """Run `patch(module)` right after the module of that name executed, or now if it already did."""
    _patches.setdefault(name, []).append(patch)
    module = sys.modules.get(name)
    if module is not None and not getattr(module.__spec__, "_initializing", False):
        patch(module)


class _PatchingLoader(Loader):
    """Stands before the real loader for one execution, then puts the real one back on the module."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def create_module(self, spec: ModuleSpec) -> Optional[ModuleType]:
        module: Optional[ModuleType] = self._inner.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._inner
        module.__loader__ = self._inner
        self._inner.exec_module(module)
        for patch in _patches.get(module.__name__, ()):
            patch(module)


class PatchingFinder:
    """The meta-path entry: asks the finders behind it, and wraps the loader of the modules that are watched."""

    def find_spec(
        self, name: str, path: Optional[Sequence[str]] = None, target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        if name not in _patches:
            return None
        for finder in list(sys.meta_path):
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                    spec.loader = _PatchingLoader(spec.loader)
                return spec
        return None
