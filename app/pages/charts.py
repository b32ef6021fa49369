"""Where the lines, bars and cells of charts lie; ``templates/charts.html`` draws them as SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 16, 52
"""Space for what stands beside the axes, in the units of the drawing."""

SQUARE = 360

MOST_POINTS = 400
"""Of one line; a longer one is thinned out, which no screen can tell."""

COLOURS = 10
"""Different lines of one chart before colours repeat."""


@dataclass(frozen=True)
class Series:
    """One line.

    Attributes:
        name: in the legend.
        points: x and y; a y of none leaves a gap.
        kind: ``teacher`` and ``member`` are drawn as such; else each line has a colour of its own.
    """

    name: str
    points: Sequence[tuple[float, float | None]]
    kind: str = "line"


@dataclass(frozen=True)
class Tick:
    """A place on an axis, and what is written there."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """One line as it is drawn: class of its style, the points of its runs, its last value."""

    name: str
    style: str
    runs: tuple[str, ...]
    dots: tuple[tuple[float, float], ...]
    last: float | None


@dataclass(frozen=True)
class LineChart:
    """Lines within their axes."""

    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    x_label: str
    y_label: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def lines(
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    *,
    percent: bool = False,
    y_bounds: tuple[float, float] | None = None,
    x_bounds: tuple[float, float] | None = None,
) -> LineChart:
    """Lay out lines, with axes that end at round numbers.

    Args:
        series: the lines; one without any point is in the legend all the same.
        x_label: what is to the right.
        y_label: what is upwards.
        percent: whether y is a share of 1, written in percent.
        y_bounds: least and most of y; what the points take unless given.
        x_bounds: the same of x.
    """
    xs = [x for each in series for x, _ in each.points]
    ys = [y for each in series for _, y in each.points if y is not None and math.isfinite(y)]
    x_marks = marks(*(x_bounds or _bounds(xs)))
    y_marks = marks(*(y_bounds or _bounds(ys)))
    x_low, x_high = x_marks[0], x_marks[-1]
    y_low, y_high = y_marks[0], y_marks[-1]
    across, up = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        right = (x - x_low) / (x_high - x_low)
        high = min(1.0, max(0.0, (y - y_low) / (y_high - y_low)))
        return round(LEFT + right * across, 1), round(HEIGHT - BOTTOM - high * up, 1)

    def draw(number: int, one: Series) -> Line:
        runs = [[place(x, y) for x, y in run] for run in _runs(_thinned(one.points))]
        values = [y for _, y in one.points if y is not None and math.isfinite(y)]
        return Line(
            name=one.name,
            style=one.kind if one.kind != "line" else f"s{number % COLOURS}",
            runs=tuple(" ".join(f"{x:g},{y:g}" for x, y in run) for run in runs if len(run) > 1),
            dots=tuple(run[0] for run in runs if len(run) == 1),
            last=values[-1] if values else None,
        )

    return LineChart(
        lines=tuple(draw(number, one) for number, one in enumerate(series)),
        x_ticks=tuple(Tick(place(x, y_low)[0], _written(x)) for x in x_marks),
        y_ticks=tuple(
            Tick(place(x_low, y)[1], f"{_written(100 * y)}%" if percent else _written(y))
            for y in y_marks
        ),
        x_label=x_label,
        y_label=y_label,
    )


@dataclass(frozen=True)
class Bin:
    """One bar of a reliability diagram, as it is drawn."""

    x: float
    width: float
    y: float
    height: float
    gap_y: float
    gap_height: float
    about: str


def reliability(bins: Sequence[tuple[float, float, float, int]]) -> tuple[Bin, ...]:
    """Lay out how often answers are right against how sure they are, in a square of ``SQUARE``.

    Args:
        bins: from where each begins (0 to 1), mean confidence, accuracy, pictures; in order.
    """
    ends = [first for first, *_ in bins[1:]] + [1.0]
    drawn = []
    for (first, confidence, accuracy, pictures), end in zip(bins, ends, strict=True):
        if not pictures:
            continue
        low, high = sorted((confidence, accuracy))
        drawn.append(
            Bin(
                x=round(first * SQUARE, 1),
                width=round((end - first) * SQUARE, 1),
                y=round((1 - accuracy) * SQUARE, 1),
                height=round(accuracy * SQUARE, 1),
                gap_y=round((1 - high) * SQUARE, 1),
                gap_height=round((high - low) * SQUARE, 1),
                about=f"{pictures} pictures: {confidence:.0%} sure, {accuracy:.0%} right",
            )
        )
    return tuple(drawn)


@dataclass(frozen=True)
class Cell:
    """One cell of a heat map: where it is, and how dark, 1 to 9."""

    row: int
    column: int
    shade: int
    value: float


def heat_map(rows: Sequence[Sequence[float]]) -> tuple[Cell, ...]:
    """Return the cells of a matrix that are not empty; the largest is the darkest.

    The shade grows with the root of the value: of what is rarely confused there is most.
    """
    most = max((value for row in rows for value in row), default=0.0)
    return tuple(
        Cell(i, j, max(1, math.ceil(9 * math.sqrt(value / most))), value)
        for i, row in enumerate(rows)
        for j, value in enumerate(row)
        if value > 0
    )


def marks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers at even distances, of which the first and last enclose all between.

    Args:
        low: the least that is to be enclosed.
        high: the most.
        about: how many steps there are to be, roughly.
    """
    if high <= low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * round_ for round_ in (1, 2, 5, 10) if power * round_ >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    return (min(values), max(values)) if values else (0.0, 1.0)


def _written(value: float) -> str:
    return f"{value:.10g}" if abs(value) >= 1e-9 else "0"


def _thinned(points: Sequence[tuple[float, float | None]]) -> Sequence[tuple[float, float | None]]:
    step = math.ceil(len(points) / MOST_POINTS)
    if step <= 1:
        return points
    return [*points[:-1:step], points[-1]]


def _runs(points: Sequence[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is not None and math.isfinite(y):
            runs[-1].append((x, y))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]
