"""The screen's widgets: places status line, panes and footer for the terminal's size, and redraws them."""

from __future__ import annotations

from collections.abc import Callable

from textual.geometry import Size

from tfgpu_tui.ui.layout import MIN_COLUMNS, MIN_ROWS, arrange
from tfgpu_tui.ui.palette import Palette
from tfgpu_tui.ui.pane import Pane, RowsWidget
from tfgpu_tui.ui.panes import DRAWN_FROM, PANES, status
from tfgpu_tui.ui.repaint import Painter
from tfgpu_tui.ui.view import View


class Board:
    """Owns the widgets; `zoomed` is the pane that has the whole screen, if one has."""

    def __init__(self, view: Callable[[], View], palette: Callable[[], Palette], painter: Painter) -> None:
        self._view = view
        # Kept here and not looked up: a last tick can come while the app takes its widgets down.
        self.status = RowsWidget("status", palette)
        self.footer = RowsWidget("footer", palette)
        self.panes = {name: Pane(name, content, view, palette, DRAWN_FROM.get(name)) for name, content in PANES.items()}
        for widget in self.widgets:
            widget.painter = painter
        self.zoomed: str | None = None
        self.output_width: int | None = None
        """Cells of the output pane; None where it is not shown."""
        self._arranged: object = None

    @property
    def widgets(self) -> list[RowsWidget]:
        """In the order in which Tab visits them."""
        return [self.status, *self.panes.values(), self.footer]

    def arrange(self, size: Size, compare: bool) -> bool:
        """Places the panes; False where nothing about that changed."""
        view = self._view()
        # Until the first sample there may be one.
        gpus = len(view.state.gpus) if view.state.gpu_status is not None else 1
        run, over = view.state.run, view.state.ended is not None
        printed = len(view.lines) > 0 or not (over or (run is not None and run.mode == "headless"))
        accounted = status.whole(view, size.width) is not None and view.trials is None
        trials = self.panes["trials"].wanted_rows(size.width) if view.trials is not None else 0
        wanted = (size, gpus, compare, self.zoomed, printed, accounted, trials)
        if wanted == self._arranged:
            return False
        self._arranged = wanted
        places = arrange(
            size.width, size.height, gpus=gpus, compare=compare, zoom=self.zoomed, printed=printed, over=accounted,
            trials=trials,
        )  # fmt: skip
        for widget in self.widgets:
            place = places.get(widget.id or "")
            widget.display = place is not None
            if place is not None:
                widget.styles.offset = (place.x, place.y)
                widget.styles.width, widget.styles.height = place.width, place.height
            if isinstance(widget, Pane):
                widget.place_size = Size(0, 0) if place is None else Size(place.width, place.height)
                widget.zoomed = widget.pane_name == self.zoomed
        if self.zoomed is None:
            self.output_width = places["output"].width if "output" in places else None
        return True

    def draw(self, size: Size, everything: bool = False, panes: bool = True) -> None:
        """Every pane that is shown; a frozen screen only on demand (`everything`). Without `panes` the status alone."""
        columns, rows = size
        view = self._view()
        if columns < MIN_COLUMNS or rows < MIN_ROWS:
            self.status.show(status.too_small(view, columns, rows))
            return
        whole = status.whole(view, columns) if view.trials is None else None
        self.status.show([status.row(view, columns), *([] if whole is None else [whole])])
        if not panes:
            return
        self.footer.show([status.footer(view, columns, self.zoomed)])
        if view.frozen_since is None or everything:
            for pane in self.panes.values():
                pane.redraw(everything)
