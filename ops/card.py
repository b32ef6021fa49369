"""The model card of the release, as Hugging Face's hub reads cards, and each member's config.json.

Every figure is taken from the manifest; what others published is cited beside it.
"""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from models.doubt import doubt_from_dict
from models.ensemble import EnsembleManifest

_TEMPLATE = Path(__file__).parent / "card.md"

_HUB_DATASETS = {"cifar100": "uoft-cs/cifar100"}


def write_card(manifest: EnsembleManifest, folder: Path) -> None:
    """Write ``README.md``, and ``config.json`` beside the weights of each member.

    Args:
        manifest: of an ensemble whose members each have a folder.
        folder: where it was exported to.
    """
    (folder / "README.md").write_text(model_card(manifest), encoding="utf-8")
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


def model_card(manifest: EnsembleManifest) -> str:
    """Return the card: the hub's metadata, then figures, limits and how it was made."""
    test, validation = manifest.metrics["test"], manifest.metrics["validation"]
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
                ("accuracy", "top-1 accuracy, averaged", "accuracy"),
                ("accuracy", "top-5 accuracy, averaged", "top5_accuracy"),
                ("nll", "NLL, calibrated", "nll"),
                ("ece", "ECE (15 bins), calibrated", "ece"),
            )
        ],
    )
    body = _TEMPLATE.read_text(encoding="utf-8").format(
        name=manifest.name,
        members=len(manifest.members),
        network=manifest.network,
        megabytes=f"{manifest.bytes / 1e6:.1f}",
        temperature=f"{manifest.temperature:.3f}",
        figures=_figures(test, validation),
        by_members=_by_members(test["by_members"]),
        spread=_spread(test["members"]),
        doubt=_doubt(manifest),
        proofs=_proofs(manifest.proofs),
        recipe=json.dumps(manifest.recipe, indent=1),
        created_at=manifest.created_at[:10],
    )
    return f"---\n{data.to_yaml()}\n---\n\n{body}"


def _figures(test: dict[str, Any], validation: dict[str, Any]) -> str:
    rows = [
        ("members' mean", test["members_mean"], validation["members_mean"]),
        ("averaged", test["pooled"], validation["pooled"]),
        ("averaged and calibrated", test["calibrated"], validation["calibrated"]),
    ]
    lines = ["| answer | top-1 | top-5 | NLL | ECE | top-1, validation |", "|" + " --- |" * 6]
    for name, of_test, of_validation in rows:
        lines.append(
            f"| {name} | {of_test['accuracy']:.2%} | {of_test['top5_accuracy']:.2%} "
            f"| {of_test['nll']:.3f} | {of_test['ece']:.3f} | {of_validation['accuracy']:.2%} |"
        )
    return "\n".join(lines)


def _by_members(rows: list[dict[str, float]]) -> str:
    lines = ["| members | top-1 | NLL |", "| --- | --- | --- |"]
    lines += [f"| {row['members']} | {row['accuracy']:.2%} | {row['nll']:.3f} |" for row in rows]
    return "\n".join(lines)


def _spread(members: list[dict[str, float]]) -> str:
    accuracies = sorted(member["accuracy"] for member in members)
    return f"{accuracies[0]:.2%} to {accuracies[-1]:.2%}"


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
