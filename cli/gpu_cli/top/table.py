"""The table of the live view: it changes cell by cell, so that it neither flickers nor loses what is chosen."""

from collections.abc import Mapping, Sequence

from rich.text import Text
from textual.coordinate import Coordinate
from textual.widgets import DataTable

from gpu_cli.top.columns import GAP, Column, cells, columns_for
from gpu_cli.top.drawing import drawn_cell
from gpu_cli.top.sight import Seen, Sight


class FleetTable(DataTable[Text]):
    """A row for each deployment of the last sight."""

    def __init__(self) -> None:
        super().__init__(cursor_type="row", cell_padding=GAP // 2)
        self._sight = Sight(0.0, ())
        self._laid_out: Mapping[Column, int] = {}
        self._cells: Sequence[tuple[str, ...]] = ()

    @property
    def chosen(self) -> Seen | None:
        """The one under the cursor; None where there is nothing."""
        seen = self._sight.seen
        return seen[self.cursor_row] if 0 <= self.cursor_row < len(seen) else None

    def show(self, sight: Sight, width: int) -> None:
        """In so many characters of width."""
        laid_out = columns_for(sight, width)
        shown = cells(list(laid_out), sight)
        stays = laid_out == self._laid_out and _names(sight) == _names(self._sight)
        if stays:
            self._sight = sight
            self._change(shown)
        else:
            self._build(sight, laid_out, shown)
        self._laid_out, self._cells = laid_out, shown
        self.display = bool(sight.seen)
        # Said outright: the height that Textual finds by itself (`auto`) can stay that of the empty table.
        self.styles.height = len(shown) + 1

    def _change(self, shown: Sequence[tuple[str, ...]]) -> None:
        for row, (before, now) in enumerate(zip(self._cells, shown, strict=True)):
            for place, (column, text) in enumerate(zip(self._laid_out, now, strict=True)):
                if text != before[place]:
                    self.update_cell_at(Coordinate(row, place), drawn_cell(column, text))

    def _build(self, sight: Sight, laid_out: Mapping[Column, int], shown: Sequence[tuple[str, ...]]) -> None:
        """The chosen one stays chosen, wherever it is now; where it is gone, the one that is in its place."""
        row, chosen, top = self.cursor_row, self.chosen, self.scroll_y
        self._sight = sight
        self.clear(columns=True)
        for column, width in laid_out.items():
            self.add_column(drawn_cell(column, column.title), width=width)
        for texts in shown:
            self.add_row(*map(drawn_cell, laid_out, texts))
        names = _names(sight)
        if chosen and chosen.deployment.resource_name in names:
            row = names.index(chosen.deployment.resource_name)
        self.move_cursor(row=row, scroll=False)
        self.call_after_refresh(self._back_to, top)

    def _back_to(self, top: float) -> None:
        """As far down as it was, as long as the chosen one is in sight."""
        self.scroll_to(y=top, animate=False, immediate=True)
        self.move_cursor(row=self.cursor_row, animate=False)


def _names(sight: Sight) -> Sequence[str]:
    return [one.deployment.resource_name for one in sight.seen]
