"""A run of four tiny members whose training together is watched."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from models.store import Store
from tests.tiny import RECIPE, go_on
from training.datasets import load_dataset
from training.fit import Run
from training.members import finished_member, train_members
from training.memory import MemoryPlan
from training.progress import Event, MemoryPlanned, Part
from training.together import Claim, Serial, do_together
from training.views import FreshViews
from training.work import Work, prepare

FOUR = replace(RECIPE, members=4, batch_size=24)
PARTS = [Part("member", index) for index in range(4)]
PLAN = MemoryPlan(
    device="cpu",
    together=2,
    side_by_side=False,
    threads=1,
    batch_size=24,
    micro_batch=24,
    recompute=False,
    precision="fp32",
    answers_bytes=0,
    shared_bytes=1,
    each_bytes=1,
    limit_bytes=10,
)


@dataclass
class Bench:
    """A run to train the members of, and what is seen of it."""

    work: Work
    told: list[Event] = field(default_factory=list)
    asked: list[Part] = field(default_factory=list)
    groups: list[tuple[list[Part], Run]] = field(default_factory=list)

    def train(
        self,
        plan: MemoryPlan = PLAN,
        claim: Claim = lambda _: True,
        do: Callable[[list[Part], Run], None] | None = None,
    ) -> None:
        """Train all members, or do something else with them."""

        def asking(part: Part) -> bool:
            self.asked.append(part)
            return claim(part)

        def watched(parts: list[Part], run: Run) -> None:
            self.groups.append((parts, run))
            (do or self.really_train)(parts, run)

        do_together(
            PARTS,
            self.work.recipe,
            plan,
            self.work,
            claim=asking,
            is_done=lambda part: finished_member(self.work, part) is not None,
            do=watched,
        )

    def really_train(self, parts: list[Part], run: Run) -> None:
        """Train members as a run does."""
        lesson = self.work.lesson
        train_members(self.work, parts, lambda _: FreshViews(lesson.train, "crop_flip", None), run)

    def finished(self) -> dict[Part, str]:
        """Return the digest of each finished member's weights."""
        members = {part: finished_member(self.work, part) for part in PARTS}
        return {part: member.weights.sha256 for part, member in members.items() if member}

    def plans(self) -> list[MemoryPlan]:
        """Return the plans that were told."""
        return [event.plan for event in self.told if isinstance(event, MemoryPlanned)]


def bench_in(folder: Path, data: Path) -> Bench:
    """Prepare the run in a store of its own."""
    store = Store(folder / "store", release=folder / "release")
    dataset = load_dataset("noise", data, store.files)
    told: list[Event] = []
    run = Run(torch.device("cpu"), Serial(told.append), go_on)
    return Bench(prepare(FOUR, dataset, store, "job", run=run, limit_bytes=None), told)
