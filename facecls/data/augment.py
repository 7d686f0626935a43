"""Random changes to faces: drawn for each face on its own, computed for the whole batch at once on its device."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from facecls import seeding
from facecls.config.schema import AugmentConfig

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, the weights that Pillow and JPEG use for grey
_COLUMNS = 14  # uniform draws per face


def draw(count: int, seed: int, epoch: int, step: int) -> Tensor:
    """The (count, 14) uniform numbers from which the faces of one step are changed; on the CPU, so alike everywhere."""
    return torch.rand(count, _COLUMNS, generator=seeding.generator("augment", seed, epoch, step))


class Augment:
    """Changes a batch of faces as the `augment` section says.

    `size` is the side of the images that come out; sampling and shrinking are one operation, so that early epochs on
    small images cost nothing extra.
    """

    def __init__(self, config: AugmentConfig) -> None:
        self.config = config

    def __call__(self, faces: Tensor, draws: Tensor, size: int, strength: float = 1.0) -> Tensor:
        """Uint8 (B, S, S, 3) and uniform (B, 14), on one device, to float32 (B, 3, size, size) in [0, 1].

        `strength`, 0 to 1, scales everything but flips.
        """
        draws = draws.to(faces.device)
        images = faces.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        colour, offset = self._colour(draws, images.mean((2, 3)), strength)
        # Sampling comes before colour: it may leave fewer pixels, and both are linear, so the order changes nothing.
        grid = _affine_grid(self._placement(draws, strength), size)
        images = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
        images = torch.baddbmm(offset, colour, images.flatten(2)).clamp_(0, 1).view(-1, 3, size, size)
        return self._erase(images, draws, strength)

    def _placement(self, draws: Tensor, strength: float) -> Tensor:
        """(B, 2, 3) affine maps from where a pixel goes to where it is taken from, in [-1, 1] coordinates."""
        config = self.config
        mirror = torch.where(draws[:, 0] < config.flip, -1.0, 1.0)
        angle = strength * math.radians(config.rotate) * _signed(draws[:, 1])
        shrink = 1 + strength * config.zoom * _signed(draws[:, 2])
        cos, sin = angle.cos() * shrink, angle.sin() * shrink
        right, down = (2 * strength * config.shift * _signed(draws[:, column]) for column in (3, 4))
        return torch.stack([cos * mirror, -sin, right, sin * mirror, cos, down], 1).view(-1, 2, 3)

    def _colour(self, draws: Tensor, mean: Tensor, strength: float) -> tuple[Tensor, Tensor]:
        """Brightness, contrast and saturation as one (B, 3, 3) matrix and one (B, 3, 1) offset; also 0..255 to [0, 1].

        `mean` is each face's (B, 3) mean colour: contrast turns around its grey value.
        """
        config = self.config
        bright, contrast, saturation = (
            (1 + strength * most * _signed(draws[:, column])).view(-1, 1, 1)
            for column, most in ((5, config.brightness), (6, config.contrast), (7, config.saturation))
        )
        # Made on the device: a copy from the host would have to be waited for.
        luma = torch.stack([draws.new_full((), weight) for weight in _LUMA])
        mixing = saturation * torch.eye(3, device=draws.device) + (1 - saturation) * luma
        grey = (mean @ luma).view(-1, 1, 1).expand(-1, 3, 1)
        return mixing * (bright * contrast / 255), grey * (bright * (1 - contrast) / 255)

    def _erase(self, images: Tensor, draws: Tensor, strength: float) -> Tensor:
        """Paints one rectangle over, in one colour (random erasing, arXiv:1708.04896).

        It has 2 to 25 % of the image's area, less what of it lies beyond the edge: its middle may be anywhere.
        """
        if self.config.erase == 0:
            return images
        erased = draws[:, 8] < strength * self.config.erase
        area = 0.02 + 0.23 * draws[:, 9]
        aspect = torch.exp(math.log(3) * _signed(draws[:, 10]))
        # An erased image's rectangle has area > 0, another's none: no branch on what the device holds.
        half_width = ((area * aspect).sqrt() / 2 * erased).view(-1, 1, 1, 1)
        half_height = ((area / aspect).sqrt() / 2 * erased).view(-1, 1, 1, 1)
        places = (torch.arange(images.shape[-1], device=images.device) + 0.5) / images.shape[-1]
        across = (places.view(1, 1, 1, -1) - draws[:, 11].view(-1, 1, 1, 1)).abs() < half_width
        down = (places.view(1, 1, -1, 1) - draws[:, 12].view(-1, 1, 1, 1)).abs() < half_height
        return torch.where(across & down, draws[:, 13].view(-1, 1, 1, 1), images)


def _affine_grid(maps: Tensor, size: int) -> Tensor:
    """(B, 2, 3) maps to the (B, size, size, 2) grid that torch's affine_grid gives for them, five times as fast.

    A row's part and a column's part are added up by broadcasting, where torch multiplies matrices of inner size 3.
    """
    places = (2 * torch.arange(size, device=maps.device) + 1) / size - 1
    across = places.view(1, 1, -1, 1) * maps[:, None, None, :, 0] + maps[:, None, None, :, 2]
    return across + places.view(1, -1, 1, 1) * maps[:, None, None, :, 1]


def _signed(uniform: Tensor) -> Tensor:
    return 2 * uniform - 1


def mix(images: Tensor, targets: Tensor, config: AugmentConfig, numbers: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Blends each face of a batch with another one, and their (B, C) targets likewise; which, follows from `numbers`.

    Mixup (arXiv:1710.09412) blends whole images, cutmix (arXiv:1905.04899) sets in a rectangle; where both are on, each
    batch gets one of them at even odds.
    """
    if config.mixup == 0 and config.cutmix == 0:
        return images, targets
    random = np.random.default_rng(seeding.seed_of("mix", *numbers))
    cut = config.mixup == 0 or (config.cutmix > 0 and random.random() < 0.5)
    alpha = config.cutmix if cut else config.mixup
    share = float(random.beta(alpha, alpha))
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
