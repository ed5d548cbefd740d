"""The NVML stand-in, built once a session."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.nvml import scenarios
from tests.nvml.build import build, compiler
from tests.nvml.machine import Machine


def _build(tmp_path_factory: pytest.TempPathFactory, old_driver: bool) -> Path:
    if compiler() is None:
        pytest.skip("the NVML stand-in is built with a C compiler, and there is none (cc, gcc or clang)")
    return build(tmp_path_factory.mktemp("nvml"), old_driver)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(tmp_path_factory, old_driver=False)


@pytest.fixture(scope="session")
def old_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(tmp_path_factory, old_driver=True)


@pytest_asyncio.fixture
async def machine(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Machine]:
    made = Machine(tmp_path / "scenario.json")
    monkeypatch.setenv("NVML_SIM", str(made.scenario))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(library))
    made.play(scenarios.gpu())
    yield made
    made.close()
