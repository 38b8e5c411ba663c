"""How figures look, and how they get onto the disk: legible in grey, to colour-blind people, and on paper."""

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from gpu_cli.write_file import write_bytes

INK, FAINT, GRID = "#222222", "#6b6b6b", "#e3e3e3"
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#000000")
"""Told apart with any kind of colour blindness (Okabe and Ito, 2002; their yellow is too light), neighbours in grey."""

_PNG_DPI = 144
_SETTINGS: Mapping[str, object] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "legend.frameon": False,
    "svg.hashsalt": "gpu",  # or the names inside differ from run to run
    "text.parse_math": False,  # a dollar is a dollar
}


@contextmanager
def house_style() -> Iterator[None]:
    """For as long as a figure is made and written."""
    with mpl.rc_context(dict(_SETTINGS)):  # type: ignore[arg-type]
        yield


def tick_formatter(in_words: Callable[[float], str]) -> FuncFormatter:
    """For the ticks of an axis."""
    return FuncFormatter(lambda value, _: in_words(value))


def write_figure(figure: Figure, folder: Path, name: str) -> tuple[Path, ...]:
    """`<name>.png` and `<name>.svg`: the same bytes for the same figure. Raises UserError."""
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # what lies where has been settled: once is enough
    files = {folder / f"{name}.png": {"dpi": _PNG_DPI}, folder / f"{name}.svg": {"metadata": {"Date": None}}}
    for path, options in files.items():
        drawn = io.BytesIO()
        figure.savefig(drawn, format=path.suffix[1:], **options)  # type: ignore[arg-type]
        write_bytes(path, drawn.getvalue())
    return tuple(files)
