"""The version of a package in the interpreter that runs the tests."""

from __future__ import annotations

from importlib import metadata


def version_of(package: str) -> str:
    """By the name that is imported: `keras` may have come as keras-nightly, `tensorflow` as tensorflow-cpu."""
    return metadata.version(metadata.packages_distributions()[package][0])
