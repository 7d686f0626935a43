"""Whether two thumbnails show the same photograph: laid over each other, do their finest details agree?

Two photographs of one face in one light look alike in all that is coarse, and a hash of what is coarse cannot tell them
apart; a copy that was cropped by two per cent looks less alike to it. What only a copy shares is the fine detail, once the
crop is undone. So one thumbnail is first laid over the other (Lucas and Kanade's registration in Baker and Matthews' inverse
compositional form, "Lucas-Kanade 20 Years On", 2004), and then only what differs from the pixels around is compared.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

_AT_ONCE = 256  # pairs, which bounds the memory to some 30 MB
_STEPS = (6, 4)  # of registration, on twice blurred and on once blurred thumbnails
_DAMPING = 3.0
_FARTHEST = 0.25  # of half a side: a registration that moves a corner farther has lost its way


def similarity(
    one: NDArray[np.uint8], other: NDArray[np.uint8], enough: NDArray[np.float64] | float = 1.0
) -> NDArray[np.float32]:
    """How far the finest details of pairs of grey thumbnails (P, S, S) agree, (P,) in [-1, 1].

    Different photographs of one person and session reach 0.9, of different people 0.6; copies of large images begin at
    0.9, of images of 48 pixels, whose finest details are noise of their compression, at 0.75. Pairs that agree by `enough`
    as they lie are not laid over each other any better, which saves most of the time.
    """
    agreement = np.empty(len(one), np.float32)
    limits = np.broadcast_to(enough, len(one))
    for at in range(0, len(one), _AT_ONCE):
        block = slice(at, at + _AT_ONCE)
        agreement[block] = _similarity(torch.from_numpy(one[block]), torch.from_numpy(other[block]), limits[block])
    return agreement


@torch.no_grad()
def _similarity(one: Tensor, other: Tensor, enough: NDArray[np.float64]) -> NDArray[np.float32]:
    still, moving = one.float()[:, None], other.float()[:, None]  # (P, 1, S, S)
    agreement = _agreement(still, moving, torch.eye(2, 3).repeat(len(still), 1, 1)).numpy()
    less = np.flatnonzero(agreement < enough)
    if len(less):
        still, moving = still[less], moving[less]
        agreement[less] = np.maximum(agreement[less], _laid_over(still, moving).numpy())
    return agreement


def _laid_over(still: Tensor, moving: Tensor) -> Tensor:
    """The agreement (P,) once registered, either laid over the other: whichever has to be enlarged for it gets blurred."""
    maps = _registered(still, moving)
    back = torch.linalg.inv(maps)
    return torch.maximum(_agreement(still, moving, maps[:, :2]), _agreement(moving, still, back[:, :2]))


def _registered(still: Tensor, moving: Tensor) -> Tensor:
    """The affine maps (P, 3, 3), from places in `still` to places in `moving`, that lay one over the other."""
    side = still.shape[-1]
    across = torch.linspace(-1, 1, side)
    x, y = across.expand(side, side), across[:, None].expand(side, side)
    maps = torch.eye(3).repeat(len(still), 1, 1)
    for blurs, steps in zip((2, 1), _STEPS, strict=True):
        template, image = _blurred(still, blurs), _blurred(moving, blurs)
        template = _standardised(template, torch.ones_like(template))
        down, right = torch.gradient(template[:, 0], spacing=2 / (side - 1), dim=(1, 2))
        slopes = torch.stack([right * x, right * y, right, down * x, down * y, down], 1).flatten(2)  # (P, 6, S * S)
        curvature = slopes @ slopes.mT + _DAMPING * (side / 2) ** 2 * torch.eye(6)
        solve = torch.linalg.inv(curvature) @ slopes
        for _ in range(steps):
            laid, covered = _warped(image, maps[:, :2])
            error = (_standardised(laid, covered) - _standardised(template, covered)) * covered
            change = (solve @ error.flatten(1)[..., None])[..., 0].clamp(-0.1, 0.1).view(-1, 2, 3)
            step = torch.eye(3).repeat(len(still), 1, 1)
            step[:, :2] += change
            maps = maps @ torch.linalg.inv(step)
    return maps


def _agreement(still: Tensor, moving: Tensor, maps: Tensor) -> Tensor:
    """The correlation (P,) of the fine details where both have some; -1 for maps that have lost their way."""
    laid, covered = _warped(moving, maps)
    one, other = (_details(_standardised(image, covered), covered) for image in (still, laid))
    agreement = (one * other).sum((1, 2, 3)) / ((one**2).sum((1, 2, 3)) * (other**2).sum((1, 2, 3)) + 1e-6).sqrt()
    lost = (maps - torch.eye(2, 3)).abs().amax((1, 2)) > _FARTHEST
    return agreement.masked_fill(lost, -1.0)


def _warped(images: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """`images` (P, 1, S, S) read at the places that `maps` names, and where (1.0 or 0.0) that is inside them."""
    grid = functional.affine_grid(maps, list(images.shape), align_corners=True)
    laid = functional.grid_sample(images, grid, padding_mode="border", align_corners=True)
    return laid, (grid.abs().amax(-1) <= 1.0)[:, None].float()


def _standardised(images: Tensor, covered: Tensor) -> Tensor:
    """Mean 0 and variance 1 over what is covered."""
    count = covered.sum((1, 2, 3), keepdim=True).clamp(min=1)
    centred = images - (images * covered).sum((1, 2, 3), keepdim=True) / count
    return centred / ((centred**2 * covered).sum((1, 2, 3), keepdim=True) / count + 1e-6).sqrt()


def _details(images: Tensor, covered: Tensor) -> Tensor:
    """What differs from the mean of the covered pixels of 3 x 3 around."""
    around = functional.avg_pool2d(images * covered, 3, 1, 1) / functional.avg_pool2d(covered, 3, 1, 1).clamp(min=1e-6)
    return (images - around) * covered


def _blurred(images: Tensor, times: int) -> Tensor:
    kernel = torch.tensor([0.25, 0.5, 0.25])
    kernel = (kernel[:, None] * kernel)[None, None]
    for _ in range(times):
        images = functional.conv2d(functional.pad(images, (1, 1, 1, 1), mode="replicate"), kernel)
    return images
