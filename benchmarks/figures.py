"""What was found, round by round, and what is made of it: medians, spread, ratios."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.contestants import OURS
from benchmarks.measures import Values

MORE, LESS = "pictures_per_second", "p50_ms"
ENGINE = "engine alone"

COLUMNS = {
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
    "pictures_per_cpu_second": "a CPU second",
    "generator_cpu_seconds": "load's CPU, s",
    "failures": "failures",
}
"""Of the table, beside the pictures a second; the results have everything."""


@dataclass
class Book:
    """Figures by measurement and by who was measured, one entry a round.

    Attributes:
        found: values of each round.
        missing: why there are none, by measurement and title.
    """

    found: dict[str, dict[str, list[Values]]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def keep(self, measure: str, title: str, values: Values) -> None:
        """Keep what a round found."""
        self.found.setdefault(measure, {}).setdefault(title, []).append(values)

    def add(self, measure: str, title: str, values: Values) -> None:
        """Keep what a round found and print it."""
        self.keep(measure, title, values)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        print(f"  {measure}, {title}: {shown}", flush=True)

    def miss(self, measure: str, title: str, reason: object) -> None:
        """Keep, and print once, why there is no figure."""
        key = f"{measure}, {title}"
        if key not in self.missing:
            self.missing[key] = str(reason)
            print(f"  {key}: not measured: {reason}", flush=True)

    def series(self, measure: str, title: str, name: str) -> list[float]:
        """Return a value of every round."""
        return [values[name] for values in self.found.get(measure, {}).get(title, [])]

    def best(self, measure: str, titles: Iterable[str], name: str, *, least: bool) -> str | None:
        """Return who has the best median of a value."""
        medians = {
            title: statistics.median(series)
            for title in titles
            if (series := self.series(measure, title, name))
        }
        choose = min if least else max
        return choose(medians, key=lambda title: medians[title]) if medians else None

    def table(self) -> list[str]:
        """Return lines with the medians, and the spread of the pictures a second."""
        head = f"{'':<34}{'pictures/s':>11} {'(lowest to highest)':<21}" + "".join(
            f"{title:>15}" for title in COLUMNS.values()
        )
        lines = [head]
        for measure, by_title in self.found.items():
            for title, rounds in by_title.items():
                rates = self.series(measure, title, MORE)
                spread = f"({min(rates):.4g} to {max(rates):.4g})"
                cells = [
                    f"{statistics.median(self.series(measure, title, name)):>15.4g}"
                    if name in rounds[0]
                    else " " * 15
                    for name in COLUMNS
                ]
                middle = f"{statistics.median(rates):>11.4g}"
                lines.append(f"{f'{measure}, {title}':<34}{middle} {spread:<21}{''.join(cells)}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready data."""
        return {"found": self.found, "missing": self.missing}


def ratio(one: list[float], other: list[float]) -> float | None:
    """Return the median of the rounds' ratios: whatever slowed a round slowed both."""
    pairs = list(zip(one, other, strict=False))
    return statistics.median(first / second for first, second in pairs) if pairs else None


def ratios(book: Book, peers: list[str]) -> dict[str, float]:
    """Return every ratio that was measured.

    Args:
        book: the figures.
        peers: titles of the other servers with the loop that users write; ``+ our engine`` added
            to a title is the same with our engine.
    """
    with_ours = [f"{title} + our engine" for title in peers]
    fastest = book.best("throughput", peers, MORE, least=False) or ""
    nearest = book.best("throughput", with_ours, MORE, least=False) or ""
    quickest = book.best("latency", peers, LESS, least=True) or ""
    at_photos = book.best("photos", peers, MORE, least=False) or ""

    def rates(measure: str, title: str = OURS) -> list[float]:
        return book.series(measure, title, MORE)

    def over(measure: str, title: str, name: str) -> float | None:
        # The smaller is the better, so the peer's stands above ours.
        return ratio(book.series(measure, title, name), book.series(measure, OURS, name))

    overload = book.found.get("overload", {}).get(OURS, [])
    found = {
        "serve/throughput": ratio(rates("throughput"), rates("throughput", fastest)),
        "serve/throughput-fast": ratio(rates("fast"), rates("throughput", fastest)),
        "serve/p99": over("throughput", fastest, "p99_ms"),
        "serve/cascade": ratio(rates("cascade"), rates("throughput")),
        "serve/latency": over("latency", quickest, LESS),
        "serve/same-engine": ratio(rates("throughput"), rates("throughput", nearest)),
        "serve/photos": ratio(rates("photos"), rates("photos", at_photos)),
        "serve/engine-over-limit": ratio(
            rates("engine", ENGINE), book.series("engine", ENGINE, "limit_pictures_per_second")
        ),
        "serve/server-over-engine": ratio(rates("batches"), rates("engine", ENGINE)),
        "serve/overload-throughput": ratio(
            [values[MORE] for values in overload],
            [values["peak_per_second"] for values in overload],
        ),
        "serve/overload-429-ms": ratio(
            [values["p99_429_ms"] for values in overload if "p99_429_ms" in values],
            [1.0] * len(overload),
        ),
    }
    return {name: value for name, value in found.items() if value is not None}
