"""Where the lines and bars of charts lie."""

import math

import pytest

from app.pages.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    MOST_POINTS,
    RIGHT,
    SQUARE,
    TOP,
    WIDTH,
    Series,
    heat_map,
    lines,
    marks,
    reliability,
)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (1, 60, [0, 20, 40, 60]),
        (0.31, 4.2, [0, 1, 2, 3, 4, 5]),
        (-3, 3, [-4, -2, 0, 2, 4]),
        (0, 0, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (5, 5, [5, 6, 7, 8, 9, 10]),
        (1e-6, 3e-6, [1e-6, 1.5e-6, 2e-6, 2.5e-6, 3e-6]),
    ],
)
def test_axes_end_at_round_numbers(low: float, high: float, expected: list[float]) -> None:
    found = marks(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    if (low, high) != (1e-6, 3e-6):
        assert found == pytest.approx(expected)


def test_a_line_goes_from_corner_to_corner() -> None:
    chart = lines([Series("up", [(0, 0.0), (10, 1.0)])], "epoch", "accuracy", percent=True)
    (line,) = chart.lines
    assert line.runs == (f"{LEFT},{HEIGHT - BOTTOM} {WIDTH - RIGHT},{TOP}",)
    assert line.last == 1.0
    assert [tick.text for tick in chart.y_ticks] == ["0%", "20%", "40%", "60%", "80%", "100%"]


def test_what_is_missing_leaves_a_gap_and_a_lone_point_is_a_dot() -> None:
    points = [(0, 1.0), (1, 2.0), (2, None), (3, math.nan), (4, 3.0)]
    (line,) = lines([Series("broken", points)], "x", "y").lines
    assert [len(run.split()) for run in line.runs] == [2]
    assert len(line.dots) == 1
    assert line.last == 3.0


@pytest.mark.parametrize("points", [[], [(1, None)], [(1, math.inf)], [(0, 0.0)]])
def test_little_or_nothing_can_be_drawn(points: list[tuple[float, float | None]]) -> None:
    (line,) = lines([Series("short", points)], "x", "y").lines
    assert line.runs == ()


def test_values_beyond_the_axis_stay_within_the_drawing() -> None:
    chart = lines([Series("wild", [(0, -5.0), (1, 5.0)])], "x", "y", y_bounds=(0, 1))
    (run,) = chart.lines[0].runs
    heights = [float(point.split(",")[1]) for point in run.split()]
    assert heights == [HEIGHT - BOTTOM, TOP]


def test_a_long_line_is_thinned_out_and_keeps_its_end() -> None:
    points = [(float(x), float(x)) for x in range(10_001)]
    (line,) = lines([Series("long", points)], "x", "y").lines
    (run,) = line.runs
    assert len(run.split()) <= MOST_POINTS + 1
    assert run.endswith(f"{WIDTH - RIGHT},{TOP}")


def test_lines_have_colours_of_their_own_and_members_one() -> None:
    kinds = ["line", "member", "line", "teacher"]
    chart = lines([Series(kind, [(0, 1.0)], kind) for kind in kinds], "x", "y")
    assert [line.style for line in chart.lines] == ["s0", "member", "s2", "teacher"]


def test_bins_of_reliability_show_how_far_they_are_off() -> None:
    bins = reliability([(0.0, 0.25, 0.5, 10), (0.5, 0.75, 0.75, 0)])
    (only,) = bins  # an empty one says nothing
    assert (only.x, only.width) == (0, SQUARE / 2)
    assert (only.y, only.height) == (SQUARE / 2, SQUARE / 2)
    assert (only.gap_y, only.gap_height) == (SQUARE / 2, SQUARE / 4)
    assert "25% sure, 50% right" in only.about


def test_cells_are_the_darker_the_larger_and_empty_ones_are_left_out() -> None:
    cells = heat_map([[9.0, 0.0], [1.0, 4.0]])
    assert [(cell.row, cell.column, cell.shade) for cell in cells] == [
        (0, 0, 9),
        (1, 0, 3),
        (1, 1, 6),
    ]
    assert heat_map([[0.0]]) == heat_map([]) == ()
