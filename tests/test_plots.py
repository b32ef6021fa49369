"""The pictures of a report: what they show, what they are called, and who may import them."""

import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from PIL import Image

from models.ensemble import EnsembleManifest
from models.store import Store
from tests.tiny import COLOURS, publish
from training.figures import (
    draw_confusion,
    draw_learning_curves,
    draw_members,
    draw_reliability,
    draw_report,
)
from training.metrics import by_members, evaluate
from training.plots import main
from training.report import report_of
from training.superclasses import SUPERCLASSES

PREDICTIONS = torch.randn(2, 40, 4, generator=torch.Generator().manual_seed(0)).log_softmax(dim=-1)
LABELS = torch.arange(40) % 4


def curve(*accuracies: float) -> list[dict[str, Any]]:
    return [
        {"epoch": epoch, "train_loss": 3.0 / epoch, "val_accuracy": accuracy}
        for epoch, accuracy in enumerate(accuracies, start=1)
    ]


CURVES = {
    "teacher 0": curve(0.4, 0.6, 0.7),
    "member 0": curve(0.3, 0.5),
    "member 1": curve(0.2, 0.4),
}


def report(*splits: str, classes: list[str] | None = None) -> dict[str, Any]:
    predictions, labels = dict.fromkeys(splits, PREDICTIONS), dict.fromkeys(splits, LABELS)
    return report_of(predictions, labels, classes or list(COLOURS), 0.5, CURVES)


def published(store: Store, *splits: str) -> EnsembleManifest:
    """Publish an ensemble with a report of these splits."""
    plain = publish(store)
    weights = [member.state_dict() for member in store.load(plain.id).members]
    metrics = {split: evaluate(PREDICTIONS, LABELS, 0.5) for split in splits}
    manifest = replace(plain, id="", name="reported", temperature=0.5, metrics=metrics)
    predictions = dict.fromkeys(splits, PREDICTIONS)
    return store.publish(manifest, weights, predictions, report(*splits))


def drawn(axes: Axes) -> list[tuple[list[float], list[float]]]:
    """Return the x and y values of every line."""
    return [tuple(np.asarray(values).tolist() for values in line.get_data()) for line in axes.lines]


# The command.


def test_it_leaves_a_picture_of_each_kind_and_says_where(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    id_ = published(store, "validation", "test").id
    out = tmp_path / "new" / "pictures"
    assert main(["--store", str(store.files), "--ensemble", id_, "--out", str(out)]) == 0
    names = ["classes.png", "learning-curves.png", "members.png", "reliability.png"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert sorted(capsys.readouterr().out.splitlines()) == [str(out / name) for name in names]
    for name in names:
        with Image.open(out / name) as picture:
            assert picture.format == "PNG"
            assert picture.width >= 900
            picture.load()


@pytest.mark.parametrize(
    ("id_", "message"),
    [("nobody", "error: no ensemble has the id 'nobody'"), ("../x", "error: no ensemble has")],
)
def test_an_unknown_ensemble_is_named_and_nothing_is_written(
    id_: str, message: str, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pictures"
    assert main(["--store", str(store.files), "--ensemble", id_, "--out", str(out)]) == 1
    assert capsys.readouterr().err.startswith(message)
    assert not out.exists()


def test_an_ensemble_without_a_report_says_so(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    id_ = publish(store).id
    assert main(["--store", str(store.files), "--ensemble", id_, "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"error: ensemble {id_} keeps no report\n"


def test_a_folder_that_cannot_be_made_is_named(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    id_ = published(store, "validation").id
    (tmp_path / "file").write_text("a file")
    out = tmp_path / "file" / "pictures"
    assert main(["--store", str(store.files), "--ensemble", id_, "--out", str(out)]) == 1
    assert str(out) in capsys.readouterr().err


def test_training_and_the_service_run_without_matplotlib() -> None:
    script = "import sys; sys.modules['matplotlib'] = None; import training.__main__, app.tasks"
    subprocess.run([sys.executable, "-c", script], check=True)


# Which figures there are.


def test_test_pictures_are_shown_where_there_are_any(store: Store) -> None:
    for splits, shown in ((("validation", "test"), "test"), (("validation",), "validation")):
        figures = draw_report(published(store, *splits), report(*splits))
        assert f"40 {shown} pictures" in figures["reliability"].get_suptitle()
        assert f"40 {shown} pictures" in figures["classes"].get_suptitle()


def test_superclasses_have_a_file_name_of_their_own_and_too_many_classes_none(
    store: Store,
) -> None:
    manifest = published(store, "validation")
    found = report("validation")
    found["splits"]["validation"]["confusion"] = {
        "over": "superclasses",
        "names": list(SUPERCLASSES),
        "counts": [[int(x == y) for x in range(20)] for y in range(20)],
    }
    assert "superclasses" in draw_report(manifest, found)
    found["splits"]["validation"]["confusion"] = None
    assert set(draw_report(manifest, found)) == {"learning-curves", "members", "reliability"}


# What the figures show.


def test_learning_curves_are_a_line_for_each_network() -> None:
    loss, accuracy = draw_learning_curves(CURVES, "mine").axes
    assert drawn(accuracy) == [
        ([1, 2], [30, 50]),
        ([1, 2], [20, 40]),
        ([1, 2, 3], pytest.approx([40, 60, 70])),
    ]
    assert drawn(loss)[2] == ([1, 2, 3], [3, 1.5, 1])
    legend = accuracy.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "2 members, at the end 40.0 to 50.0 %",
        "1 teacher, at the end 70.0 %",
    ]


def test_bars_are_as_high_as_the_accuracy_of_their_bin_and_the_gap_ends_at_its_confidence() -> None:
    bins: list[dict[str, Any]] = [
        {"low": 0.0, "high": 0.5, "count": 0, "confidence": None, "accuracy": None},
        {"low": 0.5, "high": 1.0, "count": 4, "confidence": 0.9, "accuracy": 0.75},
    ]
    figure = draw_reliability({"pooled": bins, "calibrated": bins}, 2.0, "mine")
    pooled, calibrated, share, _ = figure.axes
    accuracy, gap = (found for found in pooled.containers if isinstance(found, BarContainer))
    assert [bar.get_height() for bar in accuracy] == [75]
    assert [(bar.get_y(), bar.get_height()) for bar in gap] == [(75, pytest.approx(15))]
    assert pooled.get_title() == "Pooled: ECE 15.0 %"
    assert calibrated.get_title() == "Pooled and calibrated, T = 2.00: ECE 15.0 %"
    (pictures,) = (found for found in share.containers if isinstance(found, BarContainer))
    assert [bar.get_height() for bar in pictures] == [100]


def test_a_matrix_writes_shares_of_each_row_and_no_markup() -> None:
    confusion = {"over": "classes", "names": ["a$^$", "dog"], "counts": [[3, 1], [0, 0]]}
    figure = draw_confusion(confusion, "mine")
    figure.savefig(BytesIO())
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["75", "25"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a$^$", "dog"]


def test_members_are_counted_from_one_to_all() -> None:
    figure = draw_members({"test": by_members(PREDICTIONS, LABELS)}, "mine")
    accuracy, nll, ece = figure.axes
    for axes, name, scale in ((accuracy, "accuracy", 100), (nll, "nll", 1), (ece, "ece", 100)):
        expected = [scale * at[name] for at in by_members(PREDICTIONS, LABELS)]
        ((numbers, values),) = drawn(axes)
        assert numbers == [1, 2]
        assert values == pytest.approx(expected)


def test_every_axis_says_what_it_measures_in_which_unit(store: Store) -> None:
    for figure in draw_report(published(store, "validation"), report("validation")).values():
        for axes in figure.axes:
            shared = axes.get_subplotspec()
            assert shared is not None
            assert axes.get_xlabel() or not shared.is_last_row()
            assert axes.get_ylabel() or not shared.is_first_col()
    labels = {
        axes.get_ylabel()
        for axes in draw_members({"test": by_members(PREDICTIONS, LABELS)}, "mine").axes
    }
    assert labels == {
        "top-1 accuracy (%)",
        "negative log-likelihood (nats)",
        "expected calibration error (%)",
    }
