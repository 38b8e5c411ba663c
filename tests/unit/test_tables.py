"""Tables on terminals: how wide their columns are."""

import textwrap

from hypothesis import given
from hypothesis import strategies as st

from gpu_cli.ui.output import Table, column_widths

words = st.text("ab-", min_size=1, max_size=12)
cells = st.lists(words, max_size=4).map(" ".join)
tables = st.lists(st.tuples(cells, cells, cells), max_size=6).map(lambda rows: Table(("ONE", "TWO", "THREE"), (*rows,)))


@given(tables, st.integers(40, 160))
def test_a_table_fits_its_terminal_and_no_word_is_broken(table: Table, columns: int) -> None:
    widths = column_widths(table, columns)
    assert sum(widths) + 4 <= columns
    for *column, width in zip(table.columns, *table.rows, widths, strict=True):
        assert all(len(word) <= width for cell in column for word in cell.split())


@given(tables)
def test_where_there_is_room_every_cell_is_one_line(table: Table) -> None:
    widths = column_widths(table, 1000)
    assert widths == [max(map(len, column)) for column in zip(table.columns, *table.rows, strict=True)]


def test_where_there_is_too_little_the_column_gives_way_in_which_the_fewest_cells_are_wrapped() -> None:
    table = Table(("NAME", "OF"), (("a rather long one", "list 2026-11-12"), ("b", "list 2026-11-12")))
    name, day = column_widths(table, 28)
    assert (name, day) == (11, 15)
    assert len(textwrap.wrap("a rather long one", name)) == 2
