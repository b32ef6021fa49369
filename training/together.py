"""Pieces done at once in one process, as the memory plan says.

On a CPU each network has a thread and a share of the cores. Several networks on one thread each
waste nothing on waiting for one another, which threads that share one small network's convolutions
do; what it gains is in ``benchmarks/train.py``. On a GPU networks of one group are one network with
grouped convolutions (``models.resnet``), so that one launch serves all of them.
"""

import gc
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace

import torch

from models.errors import NotEnoughMemory, Stopped
from training.fit import Run
from training.footprint import is_out_of_memory
from training.memory import MemoryPlan
from training.progress import Event, MemoryPlanned, Part, Report
from training.recipe import Recipe
from training.work import Work

Claim = Callable[[Part], bool]
"""Asks to be the one that does a piece; false if another process has it."""

_log = logging.getLogger(__name__)


def do_together(
    parts: Sequence[Part],
    recipe: Recipe,
    plan: MemoryPlan,
    work: Work,
    *,
    claim: Claim,
    is_done: Callable[[Part], bool],
    do: Callable[[list[Part], Run], None],
) -> None:
    """Train the networks that are neither done nor in other hands.

    When memory runs out, the plan is made smaller and they go on from their checkpoints.

    Args:
        parts: the networks.
        recipe: how they are trained.
        plan: how many at once.
        work: what they are part of.
        claim: asked before one is begun.
        is_done: whether its result is in the store.
        do: trains a group side by side; only ever one if the plan is not side by side, and all of
            them if the recipe couples them.

    Raises:
        NotEnoughMemory: memory ran out and there is no smaller plan.
    """
    ours: set[Part] = set()
    if recipe.is_coupled:
        if not all(map(claim, parts)):  # in this order for every worker, so one gets them all
            return
        ours.update(parts)
    while _ran_out(parts, recipe, plan, work.run, ours, claim=claim, is_done=is_done, do=do):
        # Here, and not where the error was caught, nothing refers to its tensors any more.
        gc.collect()
        if work.run.device.type == "cuda":
            torch.cuda.empty_cache()
        smaller = work.smaller(plan, recipe)
        if smaller is None:
            raise NotEnoughMemory(f"memory ran out, and there is no smaller plan than: {plan}")
        _log.warning("memory ran out with: %s; going on with: %s", plan, smaller)
        plan = smaller
        work.run.report(MemoryPlanned(plan))


def _ran_out(
    parts: Sequence[Part],
    recipe: Recipe,
    plan: MemoryPlan,
    run: Run,
    ours: set[Part],
    *,
    claim: Claim,
    is_done: Callable[[Part], bool],
    do: Callable[[list[Part], Run], None],
) -> bool:
    """Train all that can be had; say whether that ended for want of memory."""
    pending = list(parts)
    one_takes = threading.Lock()
    failures: list[BaseException] = []

    def next_group() -> list[Part]:
        group: list[Part] = []
        if recipe.is_coupled:  # once finished, any of them is found finished, and so are all
            group, pending[:] = pending[:], []
            return [] if all(map(is_done, group)) else group
        with one_takes:
            while pending and len(group) < (plan.together if plan.side_by_side else 1):
                part = pending.pop(0)
                if not is_done(part) and (part in ours or claim(part)):
                    ours.add(part)
                    if not is_done(part):  # it may have been finished a moment before the claim
                        group.append(part)
        return group

    def check() -> None:
        run.check()
        if failures:
            raise Stopped("another network of this run has failed")

    micro_batch = plan.micro_batch if plan.micro_batch < recipe.batch_size else None
    within = replace(
        run,
        check=check,
        micro_batch=micro_batch,
        recompute=plan.recompute,
        at_once=plan.together,
    )

    def train() -> None:
        if plan.threads:
            torch.set_num_threads(plan.threads)
        try:
            while not failures and (group := next_group()):
                do(group, within)
        except Exception as error:  # noqa: BLE001  # raised again below, by the caller's thread
            failures.append(error)

    cores = torch.get_num_threads()
    try:
        if plan.together == 1 or plan.side_by_side:
            train()
        else:
            with ThreadPoolExecutor(plan.together, "train") as pool:
                try:
                    wait([pool.submit(train) for _ in range(plan.together)])
                except BaseException as error:  # Ctrl-C: threads end with their next batch
                    failures.append(error)
                    raise
    finally:
        torch.set_num_threads(cores)  # part of it is not the thread's own but the process's
    try:
        if failures and not is_out_of_memory(failures[0]):
            raise failures[0]
        return bool(failures)
    finally:
        # An error refers to the frames that it came through. If they referred to it in turn, the
        # networks in them would stay until the garbage collector's next round.
        failures.clear()


class Serial:
    """A report that threads may call at once: it is told one event after the other."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._one_tells = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Tell one event."""
        with self._one_tells:
            self._report(event)
