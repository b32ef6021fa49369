"""Random crops and flips: the usual augmentation of small pictures, for a whole batch at once.

Drawing and applying are apart. The draws come from a generator on the CPU and only the picking of
pixels runs where the pictures are, so the same generator state gives the same pictures on every
device; and draws can be kept, so that a view which a teacher has answered can be shown again.
"""

import torch
from torch import Tensor

from training.recipe import AUGMENTATIONS

_PADDING = {"small_crop_flip": 16, "crop_flip": 8}
"""The share of a picture's side that is reflected around it, as one over this."""


def draw_views(n: int, kind: str, size: int, generator: torch.Generator) -> Tensor:
    """Draw how each of n pictures is to be changed.

    ``crop_flip`` reflects an eighth of the side (4 pixels of 32) around the picture, crops the
    original size at a random place and flips every second picture, on average, left to right:
    the augmentation of He et al. 2016 (arXiv:1512.03385, section 4.2), reflected instead of black.
    ``small_crop_flip`` reflects a sixteenth: easier, for few epochs and small networks.

    Args:
        n: number of pictures.
        kind: one of ``AUGMENTATIONS``.
        size: height and width of the pictures, in pixels.
        generator: a generator on the CPU.

    Returns:
        int8 [n, 3]: pixels down, pixels right, flipped or not.

    Raises:
        ValueError: there is no such kind.
    """
    if kind == "none":
        return torch.zeros(n, 3, dtype=torch.int8)
    if kind in _PADDING:
        pad = size // _PADDING[kind]
        shifts = torch.randint(-pad, pad + 1, (n, 2), generator=generator)
        flips = torch.randint(0, 2, (n, 1), generator=generator)
        return torch.cat([shifts, flips], dim=1).to(torch.int8)
    raise ValueError(f"augmentation {kind!r} is none of {', '.join(AUGMENTATIONS)}")


def show(images: Tensor, views: Tensor) -> Tensor:
    """Return each picture in its own view.

    Args:
        images: uint8 ``[n, 3, size, size]``, on any device; never changed.
        views: int8 [n, 3] from ``draw_views``, on the CPU or the pictures' device.

    Returns:
        uint8 ``[n, 3, size, size]`` on the device of ``images``.
    """
    n, channels, size, _ = images.shape
    draws = views.to(images.device).long()  # one small copy
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
