"""Which engines answer for an ensemble on this machine: chosen by what was proven and measured."""

import hashlib
import logging
import math
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

import torch
from torch import Tensor

from models.artefacts import read_json, write_json
from models.cores import Cores, vector_instructions
from models.engine import ENGINE_VERSION, EXACT, NAMES, REFERENCE, Engine, Unavailable, build_engine
from models.ensemble import Ensemble
from models.errors import CorruptArtefact, StoreError
from models.files import Files
from models.proof import EXACT_DIFFERENCE, Proof, objection, probe

_log = logging.getLogger(__name__)

TIMED_BATCH = 32
"""Pictures of the batch on which engines race."""

_ROUNDS = 6

MOST_BEYOND_PROOF = 10
"""A reduced engine may differ on the probe by so many times its mean difference at publishing."""


@dataclass(frozen=True)
class Choice:
    """The engines of one ensemble.

    Attributes:
        default: answers unless another is asked for.
        exact: the fastest in full precision.
        fast: the fastest of all.
        reasons: by engine, why it does not answer by default.
        seconds: by engine, for a batch of ``TIMED_BATCH`` pictures.
    """

    default: Engine
    exact: Engine
    fast: Engine
    reasons: Mapping[str, str]
    seconds: Mapping[str, float]


def choose(ensemble: Ensemble, cores: Cores, files: Files | None = None) -> Choice:
    """Build an ensemble's engines and choose among them.

    Every engine must agree with the reference on the probe, on this machine. Of those that may
    answer by default the fastest does. What was found is kept in the store, for this version of
    engines and this kind of machine, so that the next start builds only what it needs.

    Args:
        ensemble: with its manifest's proofs.
        cores: what engines compute on.
        files: of the store where the choice is kept; none keeps it nowhere.

    Raises:
        CorruptArtefact: not even an exact engine agrees with the reference, so weights are broken.
    """
    place = _place(ensemble.manifest.id, cores)
    if files is not None and (kept := _kept(ensemble, cores, files, place)):
        return kept
    built, reasons = _build_all(ensemble, cores)
    if built.keys().isdisjoint(EXACT):
        reason = "; ".join(reasons.values())
        raise CorruptArtefact(f"{ensemble.manifest.id}: no engine answers as it should: {reason}")
    seconds = _race(built, ensemble.manifest.size)
    by_speed = sorted(built, key=lambda name: seconds[name])
    for name in by_speed:
        if doubtful := objection(name, _proof(ensemble, name)):
            reasons[name] = doubtful
    exact = next(name for name in by_speed if name in EXACT)
    default = next((name for name in by_speed if name not in reasons), exact)
    for name in by_speed:
        if seconds[name] > seconds[default]:
            reasons.setdefault(name, f"{name} is slower than {default} here")
    chosen = {"default": default, "exact": exact, "fast": by_speed[0]}
    if files is not None:
        fused_up_to = {name: built[name].fused_up_to for name in chosen.values()}
        found = {**chosen, "reasons": reasons, "seconds": seconds, "fused_up_to": fused_up_to}
        try:
            write_json(files, place, found)
        except StoreError as error:
            _log.warning("the choice of engines is not kept: %s", error)
    return _log_choice(
        ensemble,
        Choice(
            **{role: built[name] for role, name in chosen.items()}, reasons=reasons, seconds=seconds
        ),
    )


def kept_seconds(id_: str, cores: Cores, files: Files) -> float | None:
    """Return how long an ensemble's default engine takes for ``TIMED_BATCH`` pictures.

    Args:
        id_: of the ensemble.
        cores: what engines compute on.
        files: of the store where choices are kept.

    Returns:
        Seconds, as they were measured when its engines were chosen; None if they never were on
        such a machine by this version.
    """
    try:
        found: dict[str, Any] = read_json(files, _place(id_, cores))
        return float(found["seconds"][found["default"]])
    except (FileNotFoundError, CorruptArtefact, LookupError, TypeError, ValueError):
        return None  # made anew when the ensemble is loaded, which says so


def _place(id_: str, cores: Cores) -> str:
    return f"engines/{id_}/{_machine(cores.count)}.json"


def _build_all(ensemble: Ensemble, cores: Cores) -> tuple[dict[str, Engine], dict[str, str]]:
    """Return the engines that answer as they should here, and why the others do not."""
    built: dict[str, Engine] = {}
    reasons: dict[str, str] = {}
    pictures, expected = _expected(ensemble)
    for name in NAMES:
        if name == REFERENCE and not built.keys().isdisjoint(EXACT):
            continue  # slower wherever it was measured, and slow to measure
        engine = build_engine(name, ensemble, cores, ensemble.manifest.quantisation)
        if isinstance(engine, Unavailable):
            reasons[name] = engine.reason
        elif wrong := _misanswers(engine, ensemble, pictures, expected):
            reasons[name] = wrong
            id_ = ensemble.manifest.id
            _log.error("%s: %s", id_, wrong, extra={"ensemble": id_})
        else:
            built[name] = engine
    return built, reasons


def _kept(ensemble: Ensemble, cores: Cores, files: Files, place: str) -> Choice | None:
    """Return the choice found at an earlier start; none if there is none that still holds."""
    try:
        found: dict[str, Any] = read_json(files, place)
        names = {role: str(found[role]) for role in ("default", "exact", "fast")}
        reasons, seconds = dict(found["reasons"]), dict(found["seconds"])
        fused_up_to = {name: int(found["fused_up_to"][name]) for name in names.values()}
    except FileNotFoundError:
        return None
    except (CorruptArtefact, LookupError, TypeError, ValueError) as error:
        _log.warning("the kept choice of engines is made anew: %s", error)
        return None
    built: dict[str, Engine] = {}
    pictures, expected = _expected(ensemble)
    for name, up_to in fused_up_to.items():
        engine = build_engine(name, ensemble, cores, ensemble.manifest.quantisation, up_to)
        if isinstance(engine, Unavailable) or _misanswers(engine, ensemble, pictures, expected):
            _log.warning("the kept choice of engines is made anew: %s is gone", name)
            return None
        built[name] = engine
    return _log_choice(
        ensemble,
        Choice(
            **{role: built[name] for role, name in names.items()}, reasons=reasons, seconds=seconds
        ),
    )


def _log_choice(ensemble: Ensemble, choice: Choice) -> Choice:
    names = f"{choice.default.name} answers, {choice.exact.name} exactly, {choice.fast.name} fast"
    id_, reasons = ensemble.manifest.id, "; ".join(choice.reasons.values()) or "-"
    _log.info("%s: %s; %s", id_, names, reasons, extra={"ensemble": id_})
    return choice


def _proof(ensemble: Ensemble, name: str) -> Proof | None:
    found = ensemble.manifest.proofs.get(name)
    return Proof(**found) if found else None


def _expected(ensemble: Ensemble) -> tuple[Tensor, Tensor]:
    """Return the pictures of the probe, and what the reference answers."""
    pictures = probe(ensemble.manifest.size)
    return pictures, ensemble(pictures.permute(0, 3, 1, 2)).mean(dim=0)


def _misanswers(
    engine: Engine, ensemble: Ensemble, pictures: Tensor, expected: Tensor
) -> str | None:
    """Return what is wrong with an engine's answers on this machine, if anything is.

    Both a single picture and many at once, which may go different ways.
    """
    difference = max(
        (engine(pictures[:n]).mean(dim=0) - expected[:n]).abs().mean().item()
        for n in (1, len(pictures))
    )
    proof = _proof(ensemble, engine.name)
    allowed = EXACT_DIFFERENCE
    if engine.name not in EXACT:
        allowed = MOST_BEYOND_PROOF * (proof.mean_difference if proof else 1e-3)
    if difference <= max(allowed, EXACT_DIFFERENCE):  # not so for a NaN
        return None
    return f"{engine.name} differs from the reference by {difference:.2g} on this machine"


def _race(engines: Mapping[str, Engine], size: int) -> dict[str, float]:
    """Return how long each engine takes for a batch, at best.

    They take turns, so that what else the machine does for a while holds up all of them: the
    choice is kept, and one that was made in a bad moment would be, too.
    """
    pictures = probe(size).repeat(TIMED_BATCH // 16, 1, 1, 1)
    best = dict.fromkeys(engines, math.inf)
    for _ in range(_ROUNDS):
        for name, engine in engines.items():
            started = time.perf_counter()
            engine(pictures)
            best[name] = min(best[name], time.perf_counter() - started)
    return best


@cache
def _machine(threads: int) -> str:
    """Return a name for what a choice depends on besides the ensemble."""
    versions = [str(torch.__version__)]
    for package in ("openvino",):
        try:
            versions.append(metadata.version(package))
        except metadata.PackageNotFoundError:
            versions.append("none")
    processor = (platform.machine(), *vector_instructions())  # PyTorch tells no AMX from none
    kind = (*processor, _gpu(), threads, *versions)
    digest = hashlib.sha256(repr(kind).encode()).hexdigest()[:12]
    return f"v{ENGINE_VERSION}-{digest}"


def _gpu() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
