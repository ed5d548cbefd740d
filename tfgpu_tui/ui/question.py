"""What all screens over the monitor's have in common: each is answered once."""

from __future__ import annotations

from typing import Generic, TypeVar

from textual.screen import ModalScreen

T = TypeVar("T")


class Question(ModalScreen[T], Generic[T]):
    """Keys come in quick succession, some of them after the one that was the answer."""

    _answered = False

    def close_with(self, result: T | None = None) -> None:
        """Dismisses it, the first time."""
        if not self._answered:
            self._answered = True
            self.dismiss(result)
