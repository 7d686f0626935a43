"""Random augmentation of a batch on its device: geometric and colour changes, erasing, mixup and cutmix."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from facecls import seeding
from facecls.config.schema import AugmentConfig

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in Pillow and JPEG
_COLUMNS = 14  # random numbers per image


def draw(count: int, seed: int, epoch: int, step: int) -> Tensor:
    """The random numbers that augment the images of a step, (count, 14) in [0, 1); on the CPU, so equal on all devices."""
    return torch.rand(count, _COLUMNS, generator=seeding.generator("augment", seed, epoch, step))


class Augment:
    """Augments each image of a batch on its own, by the `augment` section of the config."""

    def __init__(self, config: AugmentConfig) -> None:
        self.config = config

    def __call__(self, faces: Tensor, draws: Tensor, size: int, strength: float = 1.0) -> Tensor:
        """From uint8 (B, S, S, 3) and random numbers (B, 14) in [0, 1) to float32 (B, 3, size, size) in [0, 1].

        `strength`, 0 to 1, scales everything but flips. Resizing to `size` is part of the geometric resampling, so smaller
        images in early epochs cost nothing extra.
        """
        draws = draws.to(faces.device)
        images = faces.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        colour, offset = self._colour(draws, images.mean((2, 3)), strength)
        # Resampling first: there may be fewer pixels after it, and both operations are linear, so the order does not matter.
        grid = _affine_grid(self._geometry(draws, strength), size)
        images = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
        images = torch.baddbmm(offset, colour, images.flatten(2)).clamp_(0, 1).view(-1, 3, size, size)
        return self._erase(images, draws, strength)

    def _geometry(self, draws: Tensor, strength: float) -> Tensor:
        """(B, 2, 3) affine maps from output to input coordinates, both in [-1, 1]."""
        config = self.config
        mirror = torch.where(draws[:, 0] < config.flip, -1.0, 1.0)
        angle = strength * math.radians(config.rotate) * _signed(draws[:, 1])
        scale = 1 + strength * config.zoom * _signed(draws[:, 2])
        cos, sin = angle.cos() * scale, angle.sin() * scale
        right, down = (2 * strength * config.shift * _signed(draws[:, column]) for column in (3, 4))
        return torch.stack([cos * mirror, -sin, right, sin * mirror, cos, down], 1).view(-1, 2, 3)

    def _colour(self, draws: Tensor, mean: Tensor, strength: float) -> tuple[Tensor, Tensor]:
        """Brightness, contrast, saturation and the scaling by 1 / 255 as a matrix (B, 3, 3) and an offset (B, 3, 1).

        `mean` (B, 3) is the mean colour of each image; contrast keeps its grey value.
        """
        config = self.config
        bright, contrast, saturation = (
            (1 + strength * most * _signed(draws[:, column])).view(-1, 1, 1)
            for column, most in ((5, config.brightness), (6, config.contrast), (7, config.saturation))
        )
        # Created on the device: a copy from the host would synchronise.
        luma = torch.stack([draws.new_full((), weight) for weight in _LUMA])
        saturate = saturation * torch.eye(3, device=draws.device) + (1 - saturation) * luma
        grey = (mean @ luma).view(-1, 1, 1).expand(-1, 3, 1)
        return saturate * (bright * contrast / 255), grey * (bright * (1 - contrast) / 255)

    def _erase(self, images: Tensor, draws: Tensor, strength: float) -> Tensor:
        """Fills one rectangle of random grey (random erasing, arXiv:1708.04896).

        Its area is 2 to 25 % of the image's; its centre is anywhere in the image, so that it may be cut off at the border.
        """
        if self.config.erase == 0:
            return images
        erased = draws[:, 8] < strength * self.config.erase
        area = 0.02 + 0.23 * draws[:, 9]
        aspect = torch.exp(math.log(3) * _signed(draws[:, 10]))
        # Other images get an empty rectangle, as a branch on values on the device would synchronise.
        half_width = ((area * aspect).sqrt() / 2 * erased).view(-1, 1, 1, 1)
        half_height = ((area / aspect).sqrt() / 2 * erased).view(-1, 1, 1, 1)
        centres = (torch.arange(images.shape[-1], device=images.device) + 0.5) / images.shape[-1]
        across = (centres.view(1, 1, 1, -1) - draws[:, 11].view(-1, 1, 1, 1)).abs() < half_width
        down = (centres.view(1, 1, -1, 1) - draws[:, 12].view(-1, 1, 1, 1)).abs() < half_height
        return torch.where(across & down, draws[:, 13].view(-1, 1, 1, 1), images)


def _affine_grid(maps: Tensor, size: int) -> Tensor:
    """`functional.affine_grid` for (B, 2, 3) maps, as (B, size, size, 2); five times as fast.

    Broadcasts the terms of rows and columns, where torch multiplies matrices of inner size 3.
    """
    centres = (2 * torch.arange(size, device=maps.device) + 1) / size - 1
    across = centres.view(1, 1, -1, 1) * maps[:, None, None, :, 0] + maps[:, None, None, :, 2]
    return across + centres.view(1, -1, 1, 1) * maps[:, None, None, :, 1]


def _signed(uniform: Tensor) -> Tensor:
    """From [0, 1) to [-1, 1)."""
    return 2 * uniform - 1


def mix(images: Tensor, targets: Tensor, config: AugmentConfig, seed_key: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mixes each image (B, 3, S, S) with another of the batch, and the targets (B, C) likewise; seeded by `seed_key`.

    Mixup (arXiv:1710.09412) blends whole images, cutmix (arXiv:1905.04899) replaces a square; if both are enabled, each
    batch gets one of them with probability 1/2.
    """
    if config.mixup == 0 and config.cutmix == 0:
        return images, targets
    random = np.random.default_rng(seeding.seed_of("mix", *seed_key))
    cut = config.mixup == 0 or (config.cutmix > 0 and random.random() < 0.5)
    alpha = config.cutmix if cut else config.mixup
    share = float(random.beta(alpha, alpha))  # of the image itself
    others = images.flip(0)  # the batch is in random order already
    if cut:
        size = images.shape[-1]
        side = round(size * math.sqrt(1 - share))
        top, left = (int(random.integers(0, size - side + 1)) for _ in range(2))
        images = images.clone()
        images[:, :, top : top + side, left : left + side] = others[:, :, top : top + side, left : left + side]
        share = 1 - (side / size) ** 2
    else:
        images = images.lerp(others, 1 - share)
    return images, targets.lerp(targets.flip(0), 1 - share)
