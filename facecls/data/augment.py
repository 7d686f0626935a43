"""Random augmentation of a batch of images, on their device.

An augmentation is a function and an entry in one of three tables: GEOMETRY (affine maps of coordinates), COLOUR (affine maps of
colours) or PIXELS. Its name is the key of the `augment` section that sets its amount. It receives uniform random numbers of its
own, a function of (seed, epoch, step, name), so that adding one does not change the numbers of the others.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from facecls import seeding
from facecls.config.schema import AugmentConfig

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in Pillow and JPEG


@dataclass(frozen=True)
class Augmentation:
    """`function` receives (B, draws) uniform numbers in [0, 1) and the amount; see the tables for the rest."""

    function: Callable[..., Any]
    draws: int = 1
    ramped: bool = True  # whether the amount grows from 0 over `augment.warmup`


def flip(uniform: Tensor, amount: float) -> Tensor:
    """Mirrors an image with probability `amount`."""
    mirror = torch.where(uniform[:, 0] < amount, -1.0, 1.0)
    return _affine(uniform, {(0, 0): mirror})


def zoom(uniform: Tensor, amount: float) -> Tensor:
    """Scales by a factor in 1 +- `amount`."""
    factor = 1 + amount * _signed(uniform[:, 0])
    return _affine(uniform, {(0, 0): factor, (1, 1): factor})


def rotate(uniform: Tensor, amount: float) -> Tensor:
    """Rotates by up to `amount` degrees either way."""
    angle = math.radians(amount) * _signed(uniform[:, 0])
    cos, sin = angle.cos(), angle.sin()
    return _affine(uniform, {(0, 0): cos, (0, 1): -sin, (1, 0): sin, (1, 1): cos})


def shift(uniform: Tensor, amount: float) -> Tensor:
    """Moves by up to `amount` of the side, horizontally and vertically."""
    right, down = (2 * amount * _signed(uniform)).unbind(1)
    return _affine(uniform, {(0, 2): right, (1, 2): down})


def saturation(uniform: Tensor, amount: float, _mean: Tensor) -> tuple[Tensor, Tensor]:
    """Moves colours towards or away from their luma by a factor in 1 +- `amount`."""
    factor = (1 + amount * _signed(uniform)).view(-1, 1, 1)
    return factor * torch.eye(3, device=uniform.device) + (1 - factor) * _luma(uniform), torch.zeros_like(factor)


def contrast(uniform: Tensor, amount: float, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Scales the distance from the image's mean luma by a factor in 1 +- `amount`."""
    factor = (1 + amount * _signed(uniform)).view(-1, 1, 1)
    return factor * torch.eye(3, device=uniform.device), (1 - factor) * (_luma(uniform) @ mean)


def brightness(uniform: Tensor, amount: float, _mean: Tensor) -> tuple[Tensor, Tensor]:
    """Multiplies all values by a factor in 1 +- `amount`."""
    factor = (1 + amount * _signed(uniform)).view(-1, 1, 1)
    return factor * torch.eye(3, device=uniform.device), torch.zeros_like(factor)


def erase(uniform: Tensor, amount: float, images: Tensor) -> Tensor:
    """Fills a rectangle with one grey value, with probability `amount` (random erasing, arXiv:1708.04896).

    Its area is 2 to 25 % of the image's; its centre is anywhere in the image, so that the border may cut it off.
    """
    chosen, area, aspect, across, down, value = uniform.unbind(1)
    area, aspect = 0.02 + 0.23 * area, torch.exp(math.log(3) * _signed(aspect))
    # Other images get an empty rectangle: a branch on values on the device would synchronise.
    erased = chosen < amount
    half_width = ((area * aspect).sqrt() / 2 * erased).view(-1, 1, 1, 1)
    half_height = ((area / aspect).sqrt() / 2 * erased).view(-1, 1, 1, 1)
    centres = (torch.arange(images.shape[-1], device=images.device) + 0.5) / images.shape[-1]
    in_columns = (centres.view(1, 1, 1, -1) - across.view(-1, 1, 1, 1)).abs() < half_width
    in_rows = (centres.view(1, 1, -1, 1) - down.view(-1, 1, 1, 1)).abs() < half_height
    return torch.where(in_columns & in_rows, value.view(-1, 1, 1, 1), images)


# Each returns (B, 3, 3) maps from output to input coordinates in [-1, 1]; applied in this order.
GEOMETRY = {
    "flip": Augmentation(flip, ramped=False),
    "zoom": Augmentation(zoom),
    "rotate": Augmentation(rotate),
    "shift": Augmentation(shift, 2),
}
# Each receives the images' (B, 3, 1) mean colours and returns a (B, 3, 3) matrix and a (B, 3 or 1, 1) offset; in this order.
COLOUR = {"saturation": Augmentation(saturation), "contrast": Augmentation(contrast), "brightness": Augmentation(brightness)}
# Each receives and returns images (B, 3, S, S) in [0, 1]; left out if its amount is 0.
PIXELS = {"erase": Augmentation(erase, 6)}

_ALL = GEOMETRY | COLOUR | PIXELS
_COLUMNS = {
    name: slice(*bounds)
    for name, bounds in zip(_ALL, pairwise(accumulate((each.draws for each in _ALL.values()), initial=0)), strict=True)
}


def draw(count: int, seed: int, epoch: int, step: int) -> Tensor:
    """The uniform random numbers (count, K) of one step, a block of columns per augmentation; on the CPU."""
    blocks = (
        torch.rand(count, each.draws, generator=seeding.generator("augment", name, seed, epoch, step))
        for name, each in _ALL.items()
    )
    return torch.cat(list(blocks), 1)


class Augment:
    """Augments each image of a batch on its own, by the `augment` section of the config."""

    def __init__(self, config: AugmentConfig) -> None:
        self.config = config

    def __call__(self, faces: Tensor, draws: Tensor, size: int, strength: float = 1.0) -> Tensor:
        """Uint8 (B, S, S, 3) and the (B, K) numbers of `draw`, to float32 (B, 3, size, size) in [0, 1].

        `strength`, 0 to 1, scales the amounts of all but flips. The images are resampled once, to their final size.
        """
        draws = draws.to(faces.device)
        images = faces.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        matrix, offset = self._colour(draws, images.mean((2, 3))[..., None], strength)
        # Resampling first: it may leave fewer pixels, and both operations are linear, so the order does not matter.
        grid = _affine_grid(self._geometry(draws, strength)[:, :2], size)
        images = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
        images = torch.baddbmm(offset, matrix, images.flatten(2)).clamp_(0, 1).view(-1, 3, size, size)
        for name, each in PIXELS.items():
            if getattr(self.config, name):
                images = each.function(draws[:, _COLUMNS[name]], self._amount(name, strength), images)
        return images

    def _amount(self, name: str, strength: float) -> float:
        amount: float = getattr(self.config, name)
        return amount * strength if _ALL[name].ramped else amount

    def _geometry(self, draws: Tensor, strength: float) -> Tensor:
        maps: list[Tensor] = [
            each.function(draws[:, _COLUMNS[name]], self._amount(name, strength)) for name, each in GEOMETRY.items()
        ]
        return reduce(lambda before, after: after @ before, maps)

    def _colour(self, draws: Tensor, mean: Tensor, strength: float) -> tuple[Tensor, Tensor]:
        """One matrix and offset for all changes of colour, from 0..255 to [0, 1]."""
        matrix, offset = torch.eye(3, device=draws.device).expand(len(draws), 3, 3), torch.zeros_like(mean)
        for name, each in COLOUR.items():
            by, plus = each.function(draws[:, _COLUMNS[name]], self._amount(name, strength), matrix @ mean + offset)
            matrix, offset = by @ matrix, by @ offset + plus
        return matrix / 255, offset / 255


def _affine(uniform: Tensor, entries: Mapping[tuple[int, int], Tensor]) -> Tensor:
    """(B, 3, 3) identities with some entries (B,) replaced."""
    maps = torch.eye(3, device=uniform.device).repeat(len(uniform), 1, 1)
    for (row, column), values in entries.items():
        maps[:, row, column] = values
    return maps


def _affine_grid(maps: Tensor, size: int) -> Tensor:
    """`functional.affine_grid` for (B, 2, 3) maps, as (B, size, size, 2); five times as fast.

    Broadcasts the terms of rows and columns, where torch multiplies matrices of inner size 3.
    """
    centres = (2 * torch.arange(size, device=maps.device) + 1) / size - 1
    across = centres.view(1, 1, -1, 1) * maps[:, None, None, :, 0] + maps[:, None, None, :, 2]
    return across + centres.view(1, -1, 1, 1) * maps[:, None, None, :, 1]


def _luma(like: Tensor) -> Tensor:
    # Created on the device: a copy from the host would synchronise.
    return torch.stack([like.new_full((), weight) for weight in _LUMA]).view(1, 3)


def _signed(uniform: Tensor) -> Tensor:
    return 2 * uniform - 1


def mix(images: Tensor, targets: Tensor, config: AugmentConfig, seed_key: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mixes each image (B, 3, S, S) with another one of the batch, and their (B, C) targets likewise.

    Mixup (arXiv:1710.09412) blends images, cutmix (arXiv:1905.04899) pastes a square; if both are on, each batch gets one of
    them with equal probability. The draws are functions of `seed_key` and the name of what is drawn.
    """
    if config.mixup == 0 and config.cutmix == 0:
        return images, targets

    def random(name: str) -> np.random.Generator:
        return np.random.default_rng(seeding.seed_of(name, *seed_key))

    cut = config.mixup == 0 or (config.cutmix > 0 and random("mixup or cutmix").random() < 0.5)
    alpha = config.cutmix if cut else config.mixup
    share = float(random("mixing share").beta(alpha, alpha))
    others = images.flip(0)  # the batch is in random order already
    if cut:
        size = images.shape[-1]
        side = round(size * math.sqrt(1 - share))
        top, left = random("cutmix place").integers(0, size - side + 1, 2).tolist()
        images = images.clone()
        images[:, :, top : top + side, left : left + side] = others[:, :, top : top + side, left : left + side]
        share = 1 - (side / size) ** 2
    else:
        images = images.lerp(others, 1 - share)
    return images, targets.lerp(targets.flip(0), 1 - share)
