"""Random crops and flips: the usual augmentation of small pictures, for a whole batch at once.

The random draws come from a generator on the CPU and only the picking of pixels runs where the
pictures are. So the same generator state gives the same pictures on every device, and a run that
continues from a checkpoint continues with the same pictures.
"""

import torch
from torch import Tensor

AUGMENTATIONS = ("none", "crop_flip")


def augment(images: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """Change each picture of a batch in its own random way.

    ``crop_flip`` reflects an eighth of the side (4 pixels of 32) around the picture, crops the
    original size at a random place and flips every second picture, on average, left to right:
    the augmentation of He et al. 2016 (arXiv:1512.03385, section 4.2), reflected instead of black.

    Args:
        images: uint8 ``[n, 3, size, size]``, on any device; never changed.
        kind: one of ``AUGMENTATIONS``.
        generator: a generator on the CPU; it moves on by the same steps on every device.

    Returns:
        uint8 ``[n, 3, size, size]`` on the device of ``images``; ``images`` itself for ``none``.

    Raises:
        ValueError: there is no such kind.
    """
    if kind == "none":
        return images
    if kind == "crop_flip":
        return _crop_flip(images, generator)
    raise ValueError(f"augmentation {kind!r} is none of {', '.join(AUGMENTATIONS)}")


def _crop_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    n, channels, size, _ = images.shape
    pad = size // 8
    shifts = torch.randint(-pad, pad + 1, (n, 2), generator=generator)
    flips = torch.randint(0, 2, (n, 1), generator=generator)
    draws = torch.cat([shifts, flips], 1).to(images.device)  # one small copy instead of two
    down, right, flip = draws[:, 0:1], draws[:, 1:2], draws[:, 2:3]  # [n, 1] each

    # Crop and flip are one look-up of pixels: nothing is padded, which reflect padding could not
    # do for uint8 anyway, and each picture has its own rows and columns. [n, size] both.
    here = torch.arange(size, device=images.device)
    rows = _reflected(here + down, size)
    columns = _reflected(torch.where(flip == 1, size - 1 - here, here) + right, size)

    # A gather along flattened pixels is several times faster on a CPU than indexing by row and
    # column, since the three channels share their indices.
    pixels = (rows[:, :, None] * size + columns[:, None, :]).view(n, 1, size * size)
    picked = images.reshape(n, channels, size * size).gather(2, pixels.expand(n, channels, -1))
    return picked.view(n, channels, size, size)


def _reflected(position: Tensor, size: int) -> Tensor:
    """Fold positions outside ``[0, size)`` back in, without repeating the edge pixel."""
    folded = position.abs()
    return torch.minimum(folded, 2 * (size - 1) - folded)
