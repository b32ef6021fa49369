"""The memory plan keeps its limit, gives way in a stated order, and knows what training takes."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.errors import NotEnoughMemory
from models.resnet import build_network
from tests.tiny import RECIPE
from training.footprint import is_out_of_memory, memory_of, resident_bytes, training_bytes
from training.memory import MemoryPlan, plan_memory, smaller_plan
from training.recipe import Precision, Recipe
from training.views import Batch

CPU, GPU = torch.device("cpu"), torch.device("cuda")
WIDE = replace(RECIPE, student="resnet20x2", batch_size=256, members=8)
ENDLESS = 2**50


def plan(
    recipe: Recipe = WIDE, device: torch.device = CPU, limit: int = ENDLESS, networks: int = 8
) -> MemoryPlan:
    return plan_memory(
        recipe,
        networks=networks,
        size=32,
        classes=10,
        device=device,
        shared_bytes=1_000_000,
        limit_bytes=limit,
    )


def retreat(first: MemoryPlan) -> list[MemoryPlan]:
    """Return a plan and all smaller ones, one after the other."""
    plans, following = [first], smaller_plan(first, WIDE, 32, 10)
    while following is not None:
        plans.append(following)
        following = smaller_plan(following, WIDE, 32, 10)
    return plans


def batch_of(count: int) -> Batch:
    """Return a batch of so many pictures of nothing."""
    return Batch(torch.zeros(count, 3, 1, 1), torch.zeros(count), None)


# The order of retreat.

WHOLE = 256


def test_on_a_gpu_it_gives_way_from_side_by_side_to_small_pieces() -> None:
    steps = [
        (plan.together, plan.side_by_side, plan.recompute, plan.micro_batch)
        for plan in retreat(plan(device=GPU))
    ]
    assert steps == [
        (8, True, False, WHOLE),
        (4, True, False, WHOLE),
        (2, True, False, WHOLE),
        (1, False, False, WHOLE),
        (1, False, True, WHOLE),
        (1, False, True, 128),
        (1, False, True, 64),
    ]


def test_on_a_cpu_there_are_at_most_as_many_as_cores_each_with_its_share() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        four, two = plan(networks=8), plan(networks=2)
    finally:
        torch.set_num_threads(before)
    assert (four.together, four.threads, four.side_by_side) == (4, 1, False)
    assert (two.together, two.threads, two.side_by_side) == (2, 2, False)
    # A network keeps its share when others give way: the number of threads changes the last bits.
    assert [(plan.together, plan.threads) for plan in retreat(four)[:3]] == [(4, 1), (2, 1), (1, 1)]


def test_a_smaller_plan_needs_less() -> None:
    needs = [plan.peak_bytes for plan in retreat(plan(device=GPU))]
    assert needs == sorted(needs, reverse=True)
    assert len(set(needs)) == len(needs)


@pytest.mark.parametrize(("batch", "pieces"), [(100, []), (129, [65]), (257, [129, 65])])
def test_no_piece_of_a_batch_has_fewer_than_64_pictures(batch: int, pieces: list[int]) -> None:
    recipe = replace(WIDE, batch_size=batch)
    following = smaller_plan(plan(recipe, networks=1), recipe, 32, 10)
    assert following is not None
    assert following.recompute
    found = []
    while (following := smaller_plan(following, recipe, 32, 10)) is not None:
        found.append(following.micro_batch)
    assert found == pieces
    for size in found:
        assert min(len(piece.labels) for piece in batch_of(batch).split(size)) >= 64


COUPLED = replace(WIDE, pooled_weight=0.5)


def of_coupled(device: torch.device) -> list[MemoryPlan]:
    """Return the plans of eight members that learn together, the largest first."""
    plans = [plan(COUPLED, device)]
    while (following := smaller_plan(plans[-1], COUPLED, 32, 10)) is not None:
        plans.append(following)
    return plans


@pytest.fixture
def cores(request: pytest.FixtureRequest) -> Iterator[int]:
    """Give this process so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("cores", [2, 16], indirect=True)
def test_coupled_members_are_never_fewer_and_give_way_by_computing_twice(cores: int) -> None:
    on_cpu = [8, 2, 1, 1, 1] if cores == 2 else [8, 8, 4, 2, 1, 1, 1]  # whose activations are held
    for plans, together in ((of_coupled(CPU), on_cpu), (of_coupled(GPU), [8, 8, 8, 8])):
        assert [each.together for each in plans] == together
        assert all(each.side_by_side for each in plans)
        assert [each.recompute for each in plans] == [False] + [True] * (len(plans) - 1)
        assert [each.micro_batch for each in plans[-3:]] == [256, 128, 64]
        needs = [each.peak_bytes for each in plans]
        assert needs == sorted(needs, reverse=True)
    smallest = of_coupled(CPU)[-1].peak_bytes
    with pytest.raises(NotEnoughMemory, match="8 coupled resnet20x2 need "):
        plan(COUPLED, limit=smallest // 2)


@pytest.mark.parametrize("cores", [2], indirect=True)
def test_computing_twice_coupled_members_add_little_more_than_their_weights(cores: int) -> None:
    two, ten = (
        smaller_plan(plan(COUPLED, networks=networks), COUPLED, 32, 10) for networks in (cores, 10)
    )
    assert two is not None
    assert ten is not None
    weights, _ = training_bytes("resnet20x2", 32, 10, "fp32", recompute=False)
    assert ten.peak_bytes < two.peak_bytes + 8 * 3 * weights


# The limit.


def test_the_largest_plan_that_fits_is_made() -> None:
    for expected in retreat(plan(device=GPU)):
        made = plan(device=GPU, limit=expected.peak_bytes)
        assert made == replace(expected, limit_bytes=expected.peak_bytes)


def test_what_fits_nowhere_is_refused_with_need_and_limit() -> None:
    smallest = retreat(plan(device=GPU))[-1].peak_bytes
    limit = smallest - 1
    with pytest.raises(NotEnoughMemory) as refused:
        plan(device=GPU, limit=limit)
    said = str(refused.value)
    assert f"one resnet20x2 needs {smallest:,} bytes" in said
    assert f"the limit is {limit:,}" in said


def test_the_number_of_members_does_not_change_the_peak() -> None:
    limit = plan(device=GPU, networks=3).peak_bytes
    for networks in (4, 10, 100):
        assert plan(device=GPU, limit=limit, networks=networks).peak_bytes <= limit
    peaks = {plan(networks=networks).peak_bytes for networks in (2, 10, 100)}
    assert len(peaks) == 1, "on one core they train one after the other"


def test_without_a_limit_all_that_the_machine_has_may_be_used() -> None:
    made = plan_memory(
        RECIPE, networks=1, size=32, classes=10, device=CPU, shared_bytes=0, limit_bytes=None
    )
    assert made.limit_bytes == memory_of(CPU) > 2**28
    assert 2**26 < resident_bytes() <= resident_bytes(peak=True) < memory_of(CPU)


# What training takes.


def saved_bytes(name: str, pictures: int, precision: Precision) -> int:
    """Return the bytes that torch saves for a backward pass, beside the weights."""
    network = build_network(name, 10).train()
    own = {parameter.data_ptr() for parameter in network.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"),
    ):
        network(torch.zeros(pictures, 3, 32, 32)).sum()
    return sum(tensor.nbytes for tensor in kept.values())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["resnet8", "resnet20", "resnet8x4"])
def test_training_takes_what_torch_saves_and_the_gradients_that_flow(
    name: str, precision: Precision
) -> None:
    _, each = training_bytes(name, 32, 10, precision, recompute=False)
    eight, sixteen = (saved_bytes(name, pictures, precision) for pictures in (8, 16))
    really = (sixteen - eight) / 8
    # Wide networks in bfloat16 are taken for larger than they are: casts of weights count in part.
    assert really < each < (1.6 if precision == "fp32" else 2.1) * really


def test_training_takes_weights_gradients_and_momentum() -> None:
    weights, _ = training_bytes("resnet20", 32, 10, "fp32", recompute=False)
    count = sum(parameter.numel() for parameter in build_network("resnet20", 10).parameters())
    assert weights == 3 * 4 * count


def test_larger_networks_pictures_and_numbers_take_more() -> None:
    def each(name: str, size: int = 32, precision: Precision = "fp32") -> int:
        return training_bytes(name, size, 10, precision, recompute=False)[1]

    assert each("resnet8") < each("resnet14") < each("resnet20") < each("resnet20x2")
    assert each("resnet8", size=64) == pytest.approx(4 * each("resnet8"), rel=0.02)
    assert each("resnet8", precision="bf16") < each("resnet8")


@pytest.mark.parametrize("name", ["resnet14", "resnet20", "resnet50"])
def test_recomputing_takes_less(name: str) -> None:
    plain, again = (training_bytes(name, 32, 10, "fp32", recompute) for recompute in (False, True))
    assert again[1] < plain[1]
    assert again[0] == plain[0]


def test_planning_leaves_the_random_numbers_alone() -> None:
    training_bytes.cache_clear()
    before = torch.random.get_rng_state()
    plan()
    assert torch.equal(before, torch.random.get_rng_state())


# In words, and which errors count.


def test_a_plan_says_what_it_plans() -> None:
    side_by_side = plan(device=GPU, networks=3, limit=8 * 2**30)
    assert str(side_by_side).startswith("3 side by side on cuda in fp32, 256 pictures at a time; ")
    assert str(side_by_side).endswith(" of 8,192 MiB")
    smallest = retreat(plan())[-1]
    assert ", 64 pictures at a time, activations computed twice; " in str(smallest)
    at_once = replace(smallest, together=2, threads=1, answers_bytes=3 * 2**20)
    assert str(at_once).startswith("2 at once, 1 thread each on cpu")
    assert " (teachers' answers 3 MiB) + 2 × " in str(at_once)
    assert smallest.to_dict()["peak_bytes"] == smallest.peak_bytes


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("can't allocate memory"), False),
        (NotEnoughMemory("can't allocate memory"), False),
    ],
)
def test_only_errors_for_want_of_memory_count(error: Exception, is_one: bool) -> None:
    assert is_out_of_memory(error) == is_one
