"""What was fitted on validation pictures to say how far an ensemble's answers are to be trusted."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from models.cascade import CascadeFit, cascade_from_dict
from models.conformal import ConformalFit, conformal_from_dict
from models.errors import CorruptArtefact
from models.outside import OutsideFit, outside_from_dict

_Fit = TypeVar("_Fit")


@dataclass(frozen=True)
class Doubt:
    """Three fits, of which each is none where validation was too small for what it promises.

    Attributes:
        conformal: sets of classes; takes three pictures.
        cascade: when the rest of the members need not be asked; takes two members, and some
            hundreds of pictures in each half of validation.
        outside: which pictures look like none of the classes; takes 19 pictures in each half.
    """

    conformal: ConformalFit | None
    cascade: CascadeFit | None
    outside: OutsideFit | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready data; ``doubt_from_dict`` is its inverse."""
        return asdict(self)


def doubt_from_dict(data: dict[str, Any], where: str) -> Doubt:
    """Build from what ``Doubt.to_dict`` returned, also after a way through JSON.

    Args:
        data: read from a manifest.
        where: the manifest's path, for the error.

    Raises:
        CorruptArtefact: a field is missing, unknown or malformed; names it.
    """
    if not isinstance(data, dict) or data.keys() != {"conformal", "cascade", "outside"}:
        raise CorruptArtefact(f"{where}: doubt: needs conformal, cascade and outside, each or null")

    def read(name: str, build: Callable[[dict[str, Any]], _Fit]) -> _Fit | None:
        try:
            return None if data[name] is None else build(data[name])
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            reason = f"a field is missing or malformed: {error}"
            raise CorruptArtefact(f"{where}: doubt.{name}: {reason}") from error

    return Doubt(
        conformal=read("conformal", conformal_from_dict),
        cascade=read("cascade", cascade_from_dict),
        outside=read("outside", outside_from_dict),
    )
