"""Every kind of chart on one page, drawn of made-up numbers."""

import math

from app.pages import charts
from app.pages.rendering import environment

_TEMPLATE = """
{% extends "layout.html" %}
{% from "charts.html" import bars, heat_map, line_chart, progress, reliability_chart %}
{% block title %}Gallery{% endblock %}
{% block main %}
<h1>Gallery</h1>
<div class="grid-2">
<div class="card">{{ line_chart("curves", "Validation accuracy", curves, "by epoch") }}</div>
<div class="card">{{ line_chart("many", "Ten jobs", many) }}</div>
<div class="card">{{ line_chart("none", "Nothing", empty) }}</div>
<div class="card">{{ reliability_chart("sure", "Reliability", bins) }}</div>
<div class="card">{{ heat_map("heat", "Confusion", matrix, names, "is", "taken for") }}</div>
<div class="card">
  {{ bars([("aquarium_fish", 0.93), ("bottle", 0.0004)], "Likeliest", "aquarium_fish") }}
  {{ progress(0.4, "member 1") }}
</div>
</div>
{% endblock %}
"""


def _curve(speed: float, end: int = 60) -> list[tuple[float, float | None]]:
    return [(epoch, 0.75 * (1 - math.exp(-epoch / speed))) for epoch in range(1, end)]


_NAMES = ["large_carnivores", "fish", "trees"]

GALLERY = environment.from_string(_TEMPLATE).render(
    path="/gallery",
    keys_needed=False,
    signed_in=False,
    theme=None,
    service={"ready": True, "members": 10, "ensemble": "made-up"},
    curves=charts.lines(
        [
            *(charts.Series(f"member {m}", _curve(9 + m), "member") for m in range(10)),
            charts.Series("teacher", _curve(8, 40), "teacher"),
        ],
        "epoch",
        "accuracy",
        percent=True,
        y_bounds=(0, 1),
    ),
    many=charts.lines(
        [charts.Series(f"job {n}", _curve(5 + 3 * n)) for n in range(10)], "epoch", "accuracy"
    ),
    empty=charts.lines([], "epoch", "accuracy"),
    bins=[(n / 15, (n + 0.5) / 15, (n + 0.3) / 15, n) for n in range(15)],
    matrix=[[0.8, 0.1, 0.02], [0.0, 0.9, 0.1], [0.3, 0.0, 0.7]],
    names=_NAMES,
)
"""Its HTML."""
