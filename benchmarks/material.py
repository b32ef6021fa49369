"""What is sent and who answers: pictures cut from photographs, and ten ResNet-14 for them.

How fast a network answers does not depend on its weights, but how far its members agree does matter
to a cascade, and how clear the winner is to a check of answers in another precision. So the members
here are ten different random networks whose BatchNorm has seen pictures and whose last
layer was fitted to the classes (ridge regression): made in seconds, and they agree as trained ones.

Shape legend: m members, n pictures, s pixels a side, k classes, c features.
"""

import io
import shutil
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import skimage.data
import torch
from PIL import Image
from torch import Tensor

from models.ensemble import EnsembleManifest, Normalisation
from models.resnet import ResNet, build_network
from models.store import Store
from training.datasets import Pictures, load_dataset
from training.doubt import fit_doubt
from training.proving import prove_engines
from training.splits import train_and_validation

CLASSES, MEMBERS, SIZE = 100, 10, 32
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "hubble_deep_field", "retina")
NORMALISATION = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
RIDGE = 0.1
"""Added to the features' covariance, which has about unit diagonal."""


@dataclass(frozen=True)
class Material:
    """What every server gets.

    Attributes:
        store: folder with the ensemble, which it also names as the serving one.
        ensemble: its id.
        pictures: PNG files of s x s pixels.
        photo: a JPEG of 12 megapixels.
        reference: probabilities of the pictures by fp32 and eager torch, float32 [n, k].
    """

    store: Path
    ensemble: str
    pictures: list[bytes]
    photo: bytes
    reference: npt.NDArray[np.float32]


def make_material(
    store: Path, count: int, given: tuple[Path, str] | None, data: Path | None = None
) -> Material:
    """Fill a store and make the pictures.

    Args:
        store: an empty folder.
        count: how many pictures, n.
        given: store and id of an ensemble to serve instead of the one made here.
        data: folder with the data set that one was trained on, to send its validation pictures:
            how many members a cascade asks depends on what it is shown.
    """
    if given is None:
        id_ = publish_members(Store(store))
    else:
        source, id_ = given
        if (source / "ensembles" / id_).exists():  # else it is a release, which every store has
            shutil.copytree(source / "ensembles" / id_, store / "ensembles" / id_)
    Store(store).serve(id_)
    ensemble = Store(store).load(id_)
    if given is None or data is None:
        pixels, _ = cut_pictures(count, seed=2, size=ensemble.manifest.size)
    else:
        pixels = validation_pictures(ensemble.manifest, data, Store(given[0]))[:count]
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    reference = ensemble(images).mean(dim=0).numpy()
    return Material(store, id_, [encode(each) for each in pixels], make_photo(), reference)


def encode(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def make_photo(width: int = 4000, height: int = 3000, quality: int = 90) -> bytes:
    """Return a JPEG as a phone takes it: a photograph scaled up, with a camera's grain."""
    image = _photographs()[0].resize((width, height), Image.Resampling.BICUBIC)
    grain = 3 * np.random.default_rng(0).standard_normal((height, width, 1), np.float32)
    pixels = (np.asarray(image) + grain).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()


def cut_pictures(
    count: int, seed: int, size: int = SIZE
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return pictures, uint8 [n, s, s, 3], and their classes, int64 [n].

    A class is a place in a photograph; its pictures show it from slightly other angles.
    """
    photographs = _photographs()
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    pictures = np.empty((count, size, size, 3), np.uint8)
    for picture, label in zip(pictures, labels, strict=True):
        place = np.random.default_rng(label)  # the same for all pictures of a class
        photograph = photographs[label % len(photographs)]
        side = place.uniform(0.15, 0.4) * min(photograph.size)
        left, top = (place.uniform(0, length - side) for length in photograph.size)
        side *= rng.uniform(0.85, 1.15)
        left, top = (edge + rng.normal(0, 0.06) * side for edge in (left, top))
        box = (max(0.0, left), max(0.0, top), left + side, top + side)
        box = (*box[:2], min(photograph.width, box[2]), min(photograph.height, box[3]))
        cut = photograph.resize((size, size), Image.Resampling.BICUBIC, box)
        light = rng.uniform(0.8, 1.2) * np.asarray(cut) + rng.normal(0, 12, (size, size, 3))
        picture[:] = light.clip(0, 255)
    return pictures, labels


def validation_pictures(
    manifest: EnsembleManifest, folder: Path, store: Store
) -> npt.NDArray[np.uint8]:
    """Return the pictures that an ensemble was validated on in another order, uint8 [n, s, s, 3].

    Args:
        manifest: of the ensemble.
        folder: of data sets.
        store: where decoded tensors are kept.

    Raises:
        InvalidDataset: it is not there, or cannot be read.
        ValueError: it is not the one that the ensemble was trained on.
    """
    dataset = load_dataset(manifest.dataset["name"], folder, store.files, size=manifest.size)
    if dataset.digest != manifest.dataset["digest"]:
        raise ValueError(f"{folder} holds other pictures than {manifest.id} was trained on")
    fraction = float(manifest.recipe["validation_fraction"])
    _, validation = train_and_validation(dataset, fraction)
    pixels = validation.images.permute(0, 2, 3, 1).contiguous().numpy()
    return np.random.default_rng(2).permutation(pixels)  # they come class by class


def publish_members(store: Store) -> str:
    """Make the ensemble, put it into a store and return its id."""
    train, validation = cut_pictures(6 * CLASSES, seed=0), cut_pictures(3 * CLASSES, seed=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        networks = [fit_member(*_tensors(*train)) for _ in range(MEMBERS)]
    images, labels = _tensors(*validation)
    with torch.inference_mode():
        outputs = [network(images).log_softmax(dim=1) for network in networks]
    predictions = torch.stack(outputs)  # [m, n, k]
    right = predictions.exp().mean(dim=0).argmax(dim=1) == labels
    accuracy = right.float().mean().item()
    manifest = EnsembleManifest(
        id="",
        name="bench-serve",
        network="resnet14",
        classes=tuple(f"class-{number}" for number in range(CLASSES)),
        size=SIZE,
        normalisation=NORMALISATION,
        members=(),
        temperature=1.0,
        recipe={"name": "bench-serve", "student": "resnet14", "members": MEMBERS},
        dataset={"name": "photographs", "digest": ""},
        teachers=(),
        metrics={"validation": {"pictures": len(labels), "pooled": {"accuracy": accuracy}}},
        created_at="2026-01-01T00:00:00+00:00",
    )
    weights = [network.state_dict() for network in networks]
    proven = prove_engines(
        manifest,
        weights,
        train=_pictures(*train),
        validation=_pictures(*validation),
        reference=predictions,
        check=lambda: None,
    )
    manifest = replace(
        manifest,
        quantisation=proven.quantisation,
        proofs=proven.proofs,
        doubt=fit_doubt(predictions, labels, 1.0).to_dict(),
    )
    return store.publish(manifest, weights, {"validation": predictions}).id


def fit_member(images: Tensor, labels: Tensor) -> ResNet:
    """Return a random network that knows pictures [n, 3, s, s] of classes [n]."""
    network = build_network("resnet14", CLASSES)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the plain average over what it sees
    with torch.inference_mode():
        order = torch.randperm(len(images))
        for batch in order.chunk(6):
            network.train()(images[batch])
        network.eval()
        features = network.stages(torch.relu(network.stem(images))).mean(dim=(2, 3))  # [n, c]
        mean, deviation = features.mean(dim=0), features.std(dim=0) + 1e-6
        scaled = (features - mean) / deviation
        targets = torch.nn.functional.one_hot(labels, CLASSES).float()
        covariance = scaled.T @ scaled / len(images) + RIDGE * torch.eye(scaled.shape[1])
        weight = torch.linalg.solve(covariance, scaled.T @ targets / len(images))  # [c, k]
        # Regression gives outputs from 0 to 1; logits as confident as a trained network's.
        weight *= 8 / (scaled @ weight).max(dim=1).values.mean()
        network.classifier.weight.copy_((weight / deviation[:, None]).T)
        network.classifier.bias.copy_(-(mean / deviation) @ weight)
    return network


def _pictures(pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> Pictures:
    return Pictures(torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(labels))


def _tensors(pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    return NORMALISATION(images), torch.from_numpy(labels)


@cache
def _photographs() -> list[Image.Image]:
    # All of them lie in scikit-image's wheel.
    return [Image.fromarray(getattr(skimage.data, name)()) for name in PHOTOGRAPHS]
