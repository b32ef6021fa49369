"""The model card of the release, as Hugging Face's hub reads cards, and each member's config.json.

Every figure is taken from the manifest; what others published is cited beside it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from models.doubt import doubt_from_dict
from models.ensemble import EnsembleManifest
from training.recipe import Recipe

_TEMPLATE = Path(__file__).parent / "card.md"

_HUB_DATASETS = {"cifar100": "uoft-cs/cifar100"}


def write_card(
    manifest: EnsembleManifest,
    folder: Path,
    teacher: EnsembleManifest | None = None,
    before: Sequence[Recipe] = (),
) -> None:
    """Write ``README.md``, and ``config.json`` beside the weights of each member.

    Args:
        manifest: of an ensemble whose members each have a folder.
        folder: where it was exported to.
        teacher: a release that taught it, to be compared with.
        before: recipes of what it builds on, the first one first.
    """
    card = model_card(manifest, teacher, before)
    (folder / "README.md").write_text(card, encoding="utf-8")
    config = json.dumps(member_config(manifest), indent=1) + "\n"
    for member in manifest.members:
        (folder / member.file).with_name("config.json").write_text(config, encoding="utf-8")


def member_config(manifest: EnsembleManifest) -> dict[str, Any]:
    """Return what it takes to build a member and to feed it, in the hub's words."""
    return {
        "architectures": ["ResNet"],
        "model_type": manifest.network,
        "image_size": manifest.size,
        "image_mean": list(manifest.normalisation.mean),
        "image_std": list(manifest.normalisation.std),
        "num_labels": len(manifest.classes),
        "id2label": {str(id_): label for id_, label in enumerate(manifest.classes)},
        "label2id": {label: id_ for id_, label in enumerate(manifest.classes)},
        "torch_dtype": "float32",
    }


def model_card(
    manifest: EnsembleManifest,
    teacher: EnsembleManifest | None = None,
    before: Sequence[Recipe] = (),
) -> str:
    """Return the card: the hub's metadata, then figures, limits and how it was made."""
    test, validation = manifest.metrics["test"], manifest.metrics["validation"]
    together = ", averaged" if len(manifest.members) > 1 else ""
    name = _HUB_DATASETS.get(manifest.dataset["name"], manifest.dataset["name"])
    data = ModelCardData(
        model_name=manifest.name,
        library_name="stillhouse",
        pipeline_tag="image-classification",
        tags=["ensemble", "knowledge-distillation", "uncertainty", "calibration", "resnet"],
        datasets=[name],
        metrics=["accuracy"],
        eval_results=[
            EvalResult(
                task_type="image-classification",
                dataset_type=name,
                dataset_name=manifest.dataset["name"],
                dataset_split="test",
                metric_type=metric,
                metric_name=label,
                metric_value=round(test["calibrated"][key], 4),
            )
            for metric, label, key in (
                ("accuracy", f"top-1 accuracy{together}", "accuracy"),
                ("accuracy", f"top-5 accuracy{together}", "top5_accuracy"),
                ("nll", "NLL, calibrated", "nll"),
                ("ece", "ECE (15 bins), calibrated", "ece"),
            )
        ],
    )
    body = _TEMPLATE.read_text(encoding="utf-8").format(
        name=manifest.name,
        what=_what(manifest),
        megabytes=f"{manifest.bytes / 1e6:.1f}",
        temperature=f"{manifest.temperature:.3f}",
        figures=_figures(test, validation),
        beyond=_beyond(manifest, teacher),
        teacher=_row_of(teacher) if teacher else "",
        doubt=_doubt(manifest),
        proofs=_proofs(manifest.proofs),
        held_out=f"{validation['pictures']:,}",
        recipes=_recipes([recipe.to_dict() for recipe in before] + [manifest.recipe]),
        created_at=manifest.created_at[:10],
    )
    return f"---\n{data.to_yaml()}\n---\n\n{body}"


def _what(manifest: EnsembleManifest) -> str:
    """Return what the files hold, in a sentence or two."""
    count = len(manifest.members)
    trained = "trained from scratch on CIFAR-100\nas the end of this page says."
    what = f"{count} {manifest.network} for 32×32 pictures, {trained}"
    return what if count == 1 else f"{what} Their answer is the plain average of their softmax."


def _figures(test: dict[str, Any], validation: dict[str, Any]) -> str:
    rows = [
        ("members' mean", "members_mean"),
        ("averaged", "pooled"),
        ("averaged and calibrated", "calibrated"),
    ]
    if len(test["members"]) == 1:
        rows = [("as it answers", "pooled"), ("calibrated", "calibrated")]
    lines = ["| answer | top-1 | top-5 | NLL | ECE | top-1, validation |", "|" + " --- |" * 6]
    for name, key in rows:
        of_test, of_validation = test[key], validation[key]
        lines.append(
            f"| {name} | {of_test['accuracy']:.2%} | {of_test['top5_accuracy']:.2%} "
            f"| {of_test['nll']:.3f} | {of_test['ece']:.3f} | {of_validation['accuracy']:.2%} |"
        )
    return "\n".join(lines)


def _beyond(manifest: EnsembleManifest, teacher: EnsembleManifest | None) -> str:
    """Return what one looks for next: what fewer members give, or how much a student keeps."""
    test = manifest.metrics["test"]
    if len(test["members"]) > 1:
        return _by_members(test)
    if teacher is None:
        return "It is alone: there is nothing to average."
    return (
        f"Its accuracy is {_right(manifest) / _right(teacher):.1%} of its teacher's, in "
        f"{manifest.bytes / teacher.bytes:.0%} of the bytes."
    )


def _by_members(test: dict[str, Any]) -> str:
    accuracies = sorted(member["accuracy"] for member in test["members"])
    spread = f"{accuracies[0]:.2%} to {accuracies[-1]:.2%}"
    fewer = "With fewer of them (mean over the runs of so many neighbours):"
    lines = [f"Members differ from {spread}. {fewer}", ""]
    lines += ["| members | top-1 | NLL |", "| --- | --- | --- |"]
    for row in test["by_members"]:
        lines.append(f"| {row['members']} | {row['accuracy']:.2%} | {row['nll']:.3f} |")
    return "\n".join(lines)


def _recipes(recipes: Sequence[Mapping[str, Any]]) -> str:
    """Return each recipe, the last of which is what the card is about."""
    title = "## Recipe" if len(recipes) == 1 else "## Recipes, each building on the one before"
    blocks = [f"```json\n{json.dumps(recipe, indent=1)}\n```" for recipe in recipes]
    return "\n\n".join([title, *blocks])


def _row_of(teacher: EnsembleManifest) -> str:
    what = f"its teacher, {len(teacher.members)} {teacher.network} averaged"
    which = f"`{teacher.id}` of {teacher.created_at[:10]}"
    return f"| {what} | {100 * _right(teacher):.2f} | {which} |\n"


def _right(manifest: EnsembleManifest) -> float:
    right: float = manifest.metrics["test"]["pooled"]["accuracy"]
    return right


def _doubt(manifest: EnsembleManifest) -> str:
    """Return a line for each fit that the ensemble was published with."""
    if manifest.doubt is None:
        return "It was published without."
    doubt, lines = doubt_from_dict(manifest.doubt, manifest.id), []
    if conformal := doubt.conformal:
        sets = "; ".join(
            f"asked for {of.rate:.0%}, {of.coverage:.1%} with {of.mean_size:.1f} classes on average"
            for of in conformal.stated
        )
        lines.append(f"- Conformal sets (RAPS) hold the right class of held-out pictures: {sets}.")
    if cascade := doubt.cascade:
        stated = cascade.stated
        lines.append(
            f"- A cascade asks {stated.mean_members:.2f} members a picture and loses "
            f"{100 * stated.accuracy_lost:.2f} ± {100 * stated.accuracy_lost_error:.2f} points: "
            f"{stated.pictures:,} held-out pictures, by rules that the other half of them chose."
        )
    if outside := doubt.outside:
        rates = " and ".join(f"{rate:.1%}" for rate in outside.stated_rates)
        lines.append(
            f"- What looks like none of the classes: {outside.score.replace('_', ' ')} above "
            f"{outside.threshold:.3f}, which {rates} of held-out ordinary pictures exceed too."
        )
    return "\n".join(lines)


def _proofs(proofs: dict[str, dict[str, Any]]) -> str:
    lines = ["| engine | same class | accuracy lost | largest difference |", "|" + " --- |" * 4]
    for name, proof in proofs.items():
        lines.append(
            f"| {name} | {proof['agreement']:.2%} | {100 * proof['accuracy_lost']:.2f} points "
            f"| {proof['largest_difference']:.1e} |"
        )
    return "\n".join(lines)
