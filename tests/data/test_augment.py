"""Augmentation against slow references for one image at a time."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from facecls.config.schema import AugmentConfig
from facecls.data import augment as module
from facecls.data.augment import _COLUMNS, GEOMETRY, Augment, Augmentation, _affine_grid, draw, mix

OFF = AugmentConfig(flip=0, rotate=0, zoom=0, shift=0, brightness=0, contrast=0, saturation=0, erase=0)
LUMA = torch.tensor([0.299, 0.587, 0.114])


def augment(faces: Tensor, draws: Tensor, size: int = 24, **strengths: float) -> Tensor:
    return Augment(OFF.model_copy(update=strengths))(faces, draws, size)


@pytest.fixture
def faces() -> Tensor:
    """Smooth images, uint8 (6, 24, 24, 3): rotated noise could not be compared."""
    coarse = torch.rand(6, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    smooth = functional.interpolate(coarse, (24, 24), mode="bicubic").clamp(0, 1)
    return (smooth * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


@pytest.fixture
def draws() -> Tensor:
    return draw(6, 0, 0, 0)


def as_float(faces: Tensor) -> Tensor:
    return faces.permute(0, 3, 1, 2).float() / 255


def test_without_strengths_images_are_unchanged(faces: Tensor, draws: Tensor) -> None:
    assert torch.allclose(augment(faces, draws), as_float(faces), atol=1e-5)


def test_the_same_random_numbers_give_the_same_images(faces: Tensor) -> None:
    full = Augment(AugmentConfig())
    assert torch.equal(draw(6, 1, 2, 3), draw(6, 1, 2, 3))
    assert torch.equal(full(faces, draw(6, 1, 2, 3), 24), full(faces, draw(6, 1, 2, 3), 24))
    for other in ((0, 2, 3), (1, 0, 3), (1, 2, 0)):
        assert not torch.equal(full(faces, draw(6, *other), 24), full(faces, draw(6, 1, 2, 3), 24))


def test_an_image_is_augmented_independently_of_its_batch(faces: Tensor, draws: Tensor) -> None:
    full = Augment(AugmentConfig(erase=1.0))
    batched = full(faces, draws, 24)
    single = torch.cat([full(faces[n : n + 1], draws[n : n + 1], 24) for n in range(6)])
    assert torch.allclose(batched, single, atol=1e-6)


def test_the_output_has_the_requested_size_and_range(faces: Tensor, draws: Tensor) -> None:
    for size in (12, 24, 40):
        images = Augment(AugmentConfig(erase=1.0))(faces, draws, size)
        assert images.shape == (6, 3, size, size) and images.dtype == torch.float32
        assert images.min() >= 0 and images.max() <= 1
    halved = augment(faces, draws, 12)
    assert torch.allclose(halved, functional.avg_pool2d(as_float(faces), 2), atol=1e-5)


def test_flip_mirrors_images(faces: Tensor, draws: Tensor) -> None:
    assert torch.allclose(augment(faces, draws, flip=1.0), as_float(faces).flip(3), atol=1e-5)
    some = augment(faces, draws, flip=0.5)
    flipped = draws[:, _COLUMNS["flip"]] < 0.5
    assert flipped.any() and not flipped.all()
    assert torch.allclose(some, torch.where(flipped.view(-1, 1, 1, 1), as_float(faces).flip(3), as_float(faces)), atol=1e-5)


def test_the_grid_equals_affine_grid_of_torch() -> None:
    maps = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(1))
    for size in (7, 24):
        assert torch.allclose(
            _affine_grid(maps, size), functional.affine_grid(maps, [5, 3, size, size], align_corners=False), atol=1e-5
        )


def test_the_largest_rotation_of_90_degrees_is_a_quarter_turn(faces: Tensor, draws: Tensor) -> None:
    draws = draws.clone()
    draws[:, _COLUMNS["rotate"]] = 1.0  # the largest angle
    turned = augment(faces, draws, rotate=90)
    either = [torch.rot90(as_float(faces), times, (2, 3)) for times in (1, 3)]
    assert any(torch.allclose(turned, each, atol=1e-4) for each in either)


def test_the_largest_shift_of_a_quarter_moves_by_a_quarter_of_the_side(faces: Tensor, draws: Tensor) -> None:
    draws = draws.clone()
    draws[:, _COLUMNS["shift"]] = torch.tensor([1.0, 0.5])  # the largest to the right, none down
    moved = augment(faces, draws, shift=0.25)
    assert torch.allclose(moved[..., :18], as_float(faces)[..., 6:], atol=1e-4)


def test_zooming_in_shows_the_centre(faces: Tensor, draws: Tensor) -> None:
    draws = draws.clone()
    draws[:, _COLUMNS["zoom"]] = 0.0
    shown = augment(faces, draws, zoom=0.5, size=12)
    assert torch.allclose(shown, as_float(faces)[..., 6:18, 6:18], atol=1e-4)


def test_colours_change_as_in_a_reference_for_one_image(faces: Tensor, draws: Tensor) -> None:
    images = augment(faces, draws, brightness=0.3, contrast=0.4, saturation=0.5)
    for number, face in enumerate(as_float(faces)):
        bright, contrast, saturation = (
            1 + amount * (2 * float(draws[number, _COLUMNS[name]]) - 1)
            for name, amount in (("brightness", 0.3), ("contrast", 0.4), ("saturation", 0.5))
        )
        grey = (face * LUMA.view(3, 1, 1)).sum(0)
        expected = saturation * face + (1 - saturation) * grey
        expected = contrast * expected + (1 - contrast) * grey.mean()
        assert torch.allclose(images[number], (bright * expected).clamp(0, 1), atol=1e-5)


def test_erasing_fills_one_rectangle_with_one_value(faces: Tensor) -> None:
    draws = draw(6, 5, 0, 0)
    erased = augment(faces, draws, erase=1.0)
    same = torch.isclose(erased, augment(faces, draws), atol=1e-6).all(1)
    for number in range(6):
        rows, columns = torch.where(~same[number])
        box = erased[number, :, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert torch.equal(box, torch.full_like(box, float(draws[number, _COLUMNS["erase"]][-1])))
        assert 0 < box[0].numel() <= 0.3 * 24 * 24
    some = augment(faces, draws, erase=0.5)
    changed = ~torch.isclose(some, augment(faces, draws), atol=1e-6).flatten(1).all(1)
    assert torch.equal(changed, draws[:, _COLUMNS["erase"]][:, 0] < 0.5)


def test_strength_scales_everything_but_flips(faces: Tensor, draws: Tensor) -> None:
    full = AugmentConfig(flip=1.0, erase=1.0)
    assert torch.allclose(Augment(full)(faces, draws, 24, 0.0), as_float(faces).flip(3), atol=1e-5)
    halves = {
        name: getattr(full, name) / 2 for name in ("rotate", "zoom", "shift", "brightness", "contrast", "saturation", "erase")
    }
    half = Augment(full.model_copy(update=halves))(faces, draws, 24)
    assert torch.allclose(Augment(full)(faces, draws, 24, 0.5), half, atol=1e-5)


def test_an_added_augmentation_changes_no_other_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: draw(6, 1, 2, 3)[:, columns] for name, columns in _COLUMNS.items()}
    monkeypatch.setattr(module, "_ALL", {"shear": Augmentation(GEOMETRY["zoom"].function, 3)} | module._ALL)
    after = draw(6, 1, 2, 3)
    assert after.shape[1] == 3 + sum(block.shape[1] for block in before.values())
    assert all(torch.equal(after[:, 3:][:, columns], before[name]) for name, columns in _COLUMNS.items())


def batch(classes: int = 3) -> tuple[Tensor, Tensor]:
    images = torch.stack([torch.full((3, 16, 16), number / 8) for number in range(8)])
    return images, functional.one_hot(torch.arange(8) % classes, classes).float()


def test_without_mixup_and_cutmix_nothing_is_mixed() -> None:
    images, targets = batch()
    mixed = mix(images, targets, OFF, (0, 0, 0))
    assert mixed[0] is images and mixed[1] is targets


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_mixed_targets_sum_to_one(mixup: float, cutmix: float) -> None:
    for step in range(10):
        images, targets = batch()
        config = OFF.model_copy(update={"mixup": mixup, "cutmix": cutmix})
        mixed, shares = mix(images, targets, config, (0, 0, step))
        assert torch.allclose(shares.sum(1), torch.ones(8)) and (shares >= 0).all()
        again, _ = mix(images, targets, config, (0, 0, step))
        assert torch.equal(mixed, again)
        assert torch.equal(images, batch()[0])  # the input is not modified


def test_mixup_blends_images_and_targets_alike() -> None:
    images, targets = batch(classes=8)
    mixed, shares = mix(images, targets, OFF.model_copy(update={"mixup": 1.0}), (0, 0, 0))
    for number in range(8):
        expected = float(shares[number] @ torch.arange(8.0)) / 8
        assert torch.allclose(mixed[number], torch.full((3, 16, 16), expected), atol=1e-6)


def test_the_area_of_cutmix_equals_the_change_of_the_targets() -> None:
    images, targets = batch(classes=8)
    areas = []
    for step in range(20):
        mixed, shares = mix(images, targets, OFF.model_copy(update={"cutmix": 1.0}), (0, 0, step))
        foreign = (mixed != images)[:, 0].float().mean((1, 2))
        assert torch.allclose(foreign, torch.stack([shares[n, 7 - n] for n in range(8)]), atol=1e-6)
        areas.append(float(foreign[0]))
    assert np.ptp(areas) > 0.3
