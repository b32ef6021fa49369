"""A few disturbances of real processes; ``make chaos`` draws from all kinds, over and over."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.oracle import judge
from tests.chaos.runs import Chaos, chaos

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc"),
]


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chaos]:
    with chaos(tmp_path_factory.mktemp("chaos"), lease_seconds=3, epochs=12) as disturbed:
        yield disturbed


@pytest.mark.parametrize("fault", ["kill all", "fill disk"])
def test_a_disturbed_job_ends_as_if_nothing_had_been(fault: str, disturbed: Chaos) -> None:
    if fault == "fill disk" and disturbed.cluster.disk is None:
        pytest.skip("no disk of our own can be mounted here")
    run = disturbed.run(0, fault)
    assert not run.wrong, "".join(run.lines)
    assert run.hit
    assert run.repeated <= 1
    assert run.answers.right > 0


def test_the_oracle_sees_what_is_wrong() -> None:
    member = {"index": 0, "status": "succeeded", "epochs": 2}
    curve = [{"epoch": 1}, {"epoch": 2}]
    right = {"status": "succeeded", "ensemble": "e", "members": [member | {"curve": curve}]}
    assert judge(right, "e", ()) == []
    assert judge(right, "other", ()) == ["the ensemble is e, not other"]
    twice = {**right, "members": [member | {"curve": [*curve, {"epoch": 2}]}]}
    assert judge(twice, "e", ()) == ["member 0: succeeded, epochs [1, 2, 2]"]
    failed = {"status": "failed", "error": {"type": "urn:x:store-full", "detail": "no space"}}
    assert judge(failed, "e", ("store-full",)) == []
    assert judge(failed, "e", ()) == ["failed: urn:x:store-full: no space"]
    assert judge({"status": "cancelled"}, "e", ()) == ["ended cancelled"]
