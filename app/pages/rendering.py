"""Templates, and how numbers are written in them."""

from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.pages import charts

_FOLDER = Path(__file__).parent / "templates"

_STEP = 1024


def render(template: str, **context: Any) -> str:
    """Return what a template makes of its context; every value is escaped.

    Args:
        template: its file below ``templates/``.
        context: what it names; a name that is missing is an error.
    """
    return environment.get_template(template).render(context)


def percent(share: float, digits: int = 0) -> str:
    """Write a share of 1: ``0.931`` as ``93%``. What is not all is never written as all."""
    low, high = 10 ** -(digits + 2), 1 - 10 ** -(digits + 2)
    if 0 < share < low / 2:
        return f"<{low:.{digits}%}"
    if high + low / 2 < share < 1:
        return f">{high:.{digits}%}"
    return f"{share:.{digits}%}"


def duration(seconds: float) -> str:
    """Write a time for people: ``0.0123`` as ``12 ms``, ``4000`` as ``1 h 7 min``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, hours = round(seconds / 60), int(seconds / 3600)
    if minutes < 60:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{hours} h {minutes - 60 * hours} min" if hours < 48 else f"{hours // 24} days"


def size(number: float) -> str:
    """Write a number of bytes: ``737352`` as ``720 KiB``."""
    units = ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while number >= _STEP and len(units) > 1:
        number /= _STEP
        del units[0]
    return f"{number:.4g} {units[0]}"


def moment(when: datetime | str) -> str:
    """Write a moment: ``2026-01-31 14:05`` UTC."""
    parsed = datetime.fromisoformat(when) if isinstance(when, str) else when
    return f"{parsed:%Y-%m-%d %H:%M}"


def words(name: str) -> str:
    """Write a class name as people do: ``aquarium_fish`` as ``aquarium fish``."""
    return name.replace("_", " ")


_SPELLED = (
    *("zero", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)


def spelled(number: int) -> str:
    """Write a small number in letters: ``10`` as ``ten``."""
    return _SPELLED[number] if number < len(_SPELLED) else str(number)


def sentence(text: str) -> str:
    """Begin with a capital letter and end with a full stop, the rest as it is."""
    return text[:1].upper() + text[1:].removesuffix(".") + "." if text else ""


environment = Environment(
    loader=FileSystemLoader(_FOLDER),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
environment.filters.update(
    percent=percent,
    duration=duration,
    size=size,
    moment=moment,
    words=words,
    spelled=spelled,
    sentence=sentence,
)
environment.globals.update(
    lines_of=charts.lines, reliability_of=charts.reliability, heat_of=charts.heat_map
)
