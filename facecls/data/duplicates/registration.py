"""Image registration (Lucas-Kanade) of thumbnails, and the similarity of their finest details after it.

Two photographs of one face in the same light have equal coarse structure, and correlate more than an image and its copy
cropped by two per cent. Only copies share the finest details, once the crop is undone. So one thumbnail is registered to the
other by the inverse compositional algorithm (Baker and Matthews, "Lucas-Kanade 20 Years On", 2004), and then the high
frequencies are compared.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

_BLOCK = 256  # pairs at a time, which bounds the memory to some 30 MB
_ITERATIONS = (6, 4)  # on thumbnails blurred twice, then once
_DAMPING = 3.0
_MAX_SHIFT = 0.25  # in half sides: maps that differ more from the identity have diverged


def similarity(
    one: NDArray[np.uint8], other: NDArray[np.uint8], enough: NDArray[np.float64] | float = 1.0
) -> NDArray[np.float32]:
    """The correlation of the finest details of pairs of grey thumbnails (P, S, S), (P,) in [-1, 1].

    Different photographs of one person and session reach 0.9, of different people 0.6; copies of large images have 0.9 and
    more, of images of 48 pixels, whose finest details are compression noise, 0.75 and more. Pairs with at least `enough`
    before registration are not registered, which saves most of the time.
    """
    correlation = np.empty(len(one), np.float32)
    limits = np.broadcast_to(enough, len(one))
    for start in range(0, len(one), _BLOCK):
        block = slice(start, start + _BLOCK)
        correlation[block] = _similarity(torch.from_numpy(one[block]), torch.from_numpy(other[block]), limits[block])
    return correlation


@torch.no_grad()
def _similarity(one: Tensor, other: Tensor, enough: NDArray[np.float64]) -> NDArray[np.float32]:
    fixed, moving = one.float()[:, None], other.float()[:, None]  # (P, 1, S, S)
    correlation = _correlation(fixed, moving, torch.eye(2, 3).repeat(len(fixed), 1, 1)).numpy()
    lower = np.flatnonzero(correlation < enough)
    if len(lower):
        fixed, moving = fixed[lower], moving[lower]
        maps = _register(fixed, moving)
        # In both directions, as the image that is enlarged by the map gets blurred.
        forward, back = _correlation(fixed, moving, maps[:, :2]), _correlation(moving, fixed, torch.linalg.inv(maps)[:, :2])
        correlation[lower] = np.maximum(correlation[lower], torch.maximum(forward, back).numpy())
    return correlation


def _register(fixed: Tensor, moving: Tensor) -> Tensor:
    """The affine maps (P, 3, 3) from coordinates in `fixed` to coordinates in `moving`, both in [-1, 1]."""
    side = fixed.shape[-1]
    coordinates = torch.linspace(-1, 1, side)
    x, y = coordinates.expand(side, side), coordinates[:, None].expand(side, side)
    maps = torch.eye(3).repeat(len(fixed), 1, 1)
    for blurs, iterations in zip((2, 1), _ITERATIONS, strict=True):
        template, image = _blurred(fixed, blurs), _blurred(moving, blurs)
        template = _standardised(template, torch.ones_like(template))
        down, right = torch.gradient(template[:, 0], spacing=2 / (side - 1), dim=(1, 2))
        # The steepest descent images of the six parameters, (P, 6, S * S), and the damped Gauss-Newton Hessian.
        descent = torch.stack([right * x, right * y, right, down * x, down * y, down], 1).flatten(2)
        hessian = descent @ descent.mT + _DAMPING * (side / 2) ** 2 * torch.eye(6)
        solve = torch.linalg.inv(hessian) @ descent
        for _ in range(iterations):
            warped, inside = _warp(image, maps[:, :2])
            error = (_standardised(warped, inside) - _standardised(template, inside)) * inside
            change = (solve @ error.flatten(1)[..., None])[..., 0].clamp(-0.1, 0.1).view(-1, 2, 3)
            step = torch.eye(3).repeat(len(fixed), 1, 1)
            step[:, :2] += change
            maps = maps @ torch.linalg.inv(step)
    return maps


def _correlation(fixed: Tensor, moving: Tensor, maps: Tensor) -> Tensor:
    """The correlation (P,) of the finest details where the warped images overlap; -1 for diverged maps."""
    warped, inside = _warp(moving, maps)
    one, other = (_details(_standardised(images, inside), inside) for images in (fixed, warped))
    correlation = (one * other).sum((1, 2, 3)) / ((one**2).sum((1, 2, 3)) * (other**2).sum((1, 2, 3)) + 1e-6).sqrt()
    diverged = (maps - torch.eye(2, 3)).abs().amax((1, 2)) > _MAX_SHIFT
    return correlation.masked_fill(diverged, -1.0)


def _warp(images: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """`images` (P, 1, S, S) sampled at the mapped coordinates, and 1.0 where these are inside the image, else 0.0."""
    grid = functional.affine_grid(maps, list(images.shape), align_corners=True)
    warped = functional.grid_sample(images, grid, padding_mode="border", align_corners=True)
    return warped, (grid.abs().amax(-1) <= 1.0)[:, None].float()


def _standardised(images: Tensor, inside: Tensor) -> Tensor:
    """Images with mean 0 and variance 1 over the pixels `inside`."""
    count = inside.sum((1, 2, 3), keepdim=True).clamp(min=1)
    centred = images - (images * inside).sum((1, 2, 3), keepdim=True) / count
    return centred / ((centred**2 * inside).sum((1, 2, 3), keepdim=True) / count + 1e-6).sqrt()


def _details(images: Tensor, inside: Tensor) -> Tensor:
    """Each pixel minus the mean of the 3 x 3 pixels around it that are `inside`."""
    means = functional.avg_pool2d(images * inside, 3, 1, 1) / functional.avg_pool2d(inside, 3, 1, 1).clamp(min=1e-6)
    return (images - means) * inside


def _blurred(images: Tensor, times: int) -> Tensor:
    kernel = torch.tensor([0.25, 0.5, 0.25])
    kernel = (kernel[:, None] * kernel)[None, None]
    for _ in range(times):
        images = functional.conv2d(functional.pad(images, (1, 1, 1, 1), mode="replicate"), kernel)
    return images
