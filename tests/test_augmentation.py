"""Augmentation: each picture changes in its own way, and the generator decides everything."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812  the name everyone knows it by
from torch import Tensor

from training.augmentation import draw_views, show
from training.recipe import AUGMENTATIONS


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(n: int, size: int = 32) -> Tensor:
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=seeded(7))


def augment(images: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    return show(images, draw_views(len(images), kind, images.shape[-1], generator))


@pytest.mark.parametrize("kind", AUGMENTATIONS)
@pytest.mark.parametrize("n", [0, 1, 5])
@pytest.mark.parametrize("size", [4, 8, 32, 33])
def test_type_and_shape_stay_and_the_input_is_not_touched(kind: str, n: int, size: int) -> None:
    images = noise(n, size)
    before = images.clone()
    augmented = augment(images, kind, seeded())
    assert augmented.dtype == torch.uint8
    assert augmented.shape == images.shape
    assert torch.equal(images, before)


def test_none_changes_nothing_and_draws_nothing() -> None:
    images, generator = noise(4), seeded()
    assert torch.equal(augment(images, "none", generator), images)
    assert torch.equal(generator.get_state(), seeded().get_state())


@pytest.mark.parametrize(("kind", "pad"), [("crop_flip", 2), ("small_crop_flip", 1)])
def test_every_picture_is_a_crop_of_its_reflected_self_maybe_flipped(kind: str, pad: int) -> None:
    images = noise(300, 16)
    padded = F.pad(images.float(), (pad, pad, pad, pad), mode="reflect").to(torch.uint8)
    seen = set()
    for picture, augmented in zip(padded, augment(images, kind, seeded()), strict=True):
        ways = [
            (down, right, flip)
            for down in range(2 * pad + 1)
            for right in range(2 * pad + 1)
            for flip in (False, True)
            if torch.equal(crop(picture, down, right, flip), augmented)
        ]
        assert len(ways) == 1
        seen.update(ways)
    crops = 2 * (2 * pad + 1) ** 2
    assert len(seen) > 0.9 * crops, "each crop and flip must come up among 300 pictures, nearly"


def crop(padded: Tensor, down: int, right: int, flip: bool) -> Tensor:
    cut = padded[:, down : down + 16, right : right + 16]
    return cut.flip(-1) if flip else cut


def test_half_of_the_pictures_are_flipped() -> None:
    ramp = torch.arange(32, dtype=torch.uint8).expand(2000, 3, 32, 32)
    augmented = augment(ramp, "crop_flip", seeded())
    flipped = (augmented[:, 0, 0, 15] > augmented[:, 0, 0, 16]).float().mean().item()
    assert 0.46 < flipped < 0.54


def test_the_same_picture_comes_out_in_different_ways_within_one_batch() -> None:
    augmented = augment(noise(1).expand(64, 3, 32, 32), "crop_flip", seeded())
    assert len({image.numpy().tobytes() for image in augmented}) > 32


def test_the_generator_state_decides_the_result() -> None:
    images, generator = noise(8), seeded()
    first, state = augment(images, "crop_flip", generator), generator.get_state()
    second = augment(images, "crop_flip", generator)
    assert torch.equal(first, augment(images, "crop_flip", seeded()))
    assert not torch.equal(first, second)
    generator.set_state(state)
    assert torch.equal(second, augment(images, "crop_flip", generator))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_a_gpu_gives_the_same_pictures_as_the_cpu() -> None:
    images = noise(16)
    on_gpu = augment(images.cuda(), "crop_flip", seeded())
    assert on_gpu.is_cuda
    assert torch.equal(on_gpu.cpu(), augment(images, "crop_flip", seeded()))


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'cutout' is none of none, small_crop_flip, crop_flip"):
        augment(noise(1), "cutout", seeded())


def test_draws_that_are_kept_show_the_same_view_again() -> None:
    images, views = noise(8), draw_views(8, "crop_flip", 32, seeded())
    first = show(images, views)
    assert torch.equal(first, show(images, views))
    assert torch.equal(first[5:6], show(images[5:6], views[5:6])), "each picture has its own"


@pytest.mark.parametrize("size", [7, 32, 224])
def test_draws_are_small_whole_numbers(size: int) -> None:
    views = draw_views(999, "crop_flip", size, seeded())
    assert views.dtype == torch.int8
    assert views.shape == (999, 3)
    assert views[:, :2].min() == -(size // 8)
    assert views[:, :2].max() == size // 8
    assert set(views[:, 2].tolist()) == {0, 1}
