"""How large batches had better be, from what they took."""

from app.batch_costs import KINDS_KEPT, REMEMBERED_BATCHES, Costs, KnownCosts

MANY = 10_000


def measured(**item_seconds: float) -> Costs:
    """Return costs where batches of 1, 2, 4, … items took so long for each item."""
    costs = Costs()
    for power, seconds in enumerate(item_seconds.values()):
        costs.note(2**power, seconds * 2**power)
    return costs


def test_nothing_is_known_at_first() -> None:
    assert Costs().item_seconds == 0
    assert Costs().size(MANY) == 1


def test_twice_the_largest_size_is_tried_while_more_wait() -> None:
    costs = Costs()
    tried = []
    for _ in range(6):
        tried.append(costs.size(MANY))
        costs.note(tried[-1], 1.0)
    assert tried == [1, 2, 4, 8, 16, 32]


def test_a_larger_size_is_tried_even_where_the_last_one_was_dear() -> None:
    costs = measured(one=1.0, two=1.0, four=5.0)
    assert costs.size(5) == 8
    assert costs.size(4) == 1


def test_the_smallest_size_that_costs_a_tenth_more_at_most_is_best() -> None:
    costs = measured(one=2.0, two=1.2, four=1.09, eight=1.0, sixteen=3.0)
    assert costs.size(16) == 4
    assert costs.item_seconds == 1.09


def test_the_best_size_does_not_depend_on_how_many_wait() -> None:
    costs = measured(one=2.0, two=1.0, four=3.0)
    assert [costs.size(waiting) for waiting in (1, 2, 3, 4)] == [2, 2, 2, 2]


def test_sizes_between_count_as_the_next_power_of_two() -> None:
    costs = measured(one=2.0, two=2.0)
    costs.note(3, 3.0)
    assert costs.size(4) == 4
    assert costs.size(5) == 8
    costs.note(5, 0.5)
    assert costs.size(8) == 8


def test_new_measurements_outweigh_old_ones_little_by_little() -> None:
    costs = measured(one=1.0)
    costs.note(1, 2.0)
    assert costs.item_seconds == 1.3
    for _ in range(50):
        costs.note(1, 2.0)
    assert 1.99 < costs.item_seconds < 2.01


def test_a_size_that_was_slow_by_chance_is_tried_again() -> None:
    costs = measured(one=2.0, two=1.0, four=9.0)
    for _ in range(REMEMBERED_BATCHES - 1):
        assert costs.size(MANY) == 8  # never yet tried
        assert costs.size(4) == 2
        costs.note(2, 2.0)
    costs.note(2, 2.0)
    assert costs.size(4) == 4


def test_costs_of_a_kind_are_found_again() -> None:
    known = KnownCosts()
    assert known.of("a") is known.of("a")
    assert known.of("a") is not known.of("b")


def test_the_kind_asked_for_longest_ago_is_forgotten() -> None:
    known = KnownCosts()
    first, second = known.of(0), known.of(1)
    for kind in range(2, KINDS_KEPT):
        known.of(kind)
    assert known.of(0) is first
    known.of("one more")
    assert known.of(0) is first
    assert known.of(1) is not second
