"""Alignment: the similarity transform against a reference, what a margin shows, resampling, and unusable landmarks."""

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from facecls.faces.align import TEMPLATES, align, face_transform, similarity
from facecls.faces.detect import DetectedFace, Pixels, build_detector
from facecls.synthetic.draw import draw_face
from facecls.synthetic.people import random_person, random_photograph

Points = npt.NDArray[np.float64]

FACE150 = TEMPLATES["face150"]


def transformed(points: Points, degrees: float, scale: float, shift: tuple[float, float]) -> Points:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.asarray(scale * points @ np.array([[cosine, sine], [-sine, cosine]]) + shift)


def face_at(degrees: float = 0.0, scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> DetectedFace:
    """A face whose landmarks are those of the template, transformed, and whose box is around them."""
    landmarks = transformed(np.array(FACE150.landmarks), degrees, scale, shift)
    centre = transformed(np.array([[75.0, 67.0]]), degrees, scale, shift)[0]
    side = 140 * scale
    eye, other_eye, nose, mouth, other_mouth = ((x, y) for x, y in landmarks.tolist())
    return DetectedFace(
        (centre[0] - side / 2, centre[1] - side / 2, side, side), (eye, other_eye, nose, mouth, other_mouth), 0.9
    )


def umeyama(source: Points, target: Points) -> Points:
    """Equations 40 to 42 of Umeyama (1991), in any dimension."""
    mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    u, d, v = np.linalg.svd((target - target_mean).T @ (source - mean) / len(source))
    signs = np.ones(len(d))
    signs[-1] = np.sign(np.linalg.det(u) * np.linalg.det(v))
    rotation = u @ np.diag(signs) @ v
    scale = (d * signs).sum() / ((source - mean) ** 2).sum(axis=1).mean()
    return np.column_stack((scale * rotation, target_mean - scale * rotation @ mean))


def smooth(width: int, height: int) -> Pixels:
    """An image without detail, in which resampling changes a pixel by little."""
    y, x = np.mgrid[:height, :width]
    channels = (127 + 90 * np.sin(x / 40), 127 + 90 * np.cos(y / 30), 127 + 90 * np.sin((x + y) / 60))
    return np.asarray(np.stack(channels, axis=-1), dtype=np.uint8)


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize(("degrees", "scale", "shift"), [(0, 1, (0, 0)), (31, 0.2, (400, -30)), (-170, 7, (-5, 9000))])
def test_a_known_similarity_is_recovered(count: int, degrees: float, scale: float, shift: tuple[float, float]) -> None:
    points = np.random.default_rng(count).uniform(0, 100, (count, 2))
    found = similarity(points, transformed(points, degrees, scale, shift))
    np.testing.assert_allclose(
        found @ np.column_stack((points, np.ones(count))).T, transformed(points, degrees, scale, shift).T, atol=1e-6
    )
    assert math.hypot(*found[:, 0]) == pytest.approx(scale, abs=1e-6)
    assert math.degrees(math.atan2(found[1, 0], found[0, 0])) == pytest.approx(degrees, abs=1e-6)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_similarity_is_umeyamas(mirrored: bool) -> None:
    for seed in range(20):
        source, target = np.random.default_rng(seed).normal(size=(2, 5, 2))
        if mirrored:  # a reflection would fit best
            target = source * (-1, 1) + 0.1 * target
        np.testing.assert_allclose(similarity(source, target), umeyama(source, target), atol=1e-9)


@pytest.mark.parametrize(("degrees", "scale", "shift"), [(0, 1, (0, 0)), (25, 2.5, (300, 200)), (180, 0.3, (90, 80))])
def test_the_fitted_points_are_put_onto_the_template(degrees: float, scale: float, shift: tuple[float, float]) -> None:
    face = face_at(degrees, scale, shift)
    points = np.column_stack((face.landmarks, np.ones(5))).T
    placed = face_transform(face) @ points * FACE150.side
    np.testing.assert_allclose(placed.T, FACE150.landmarks, atol=1e-6)


def test_a_face_at_its_place_is_unchanged() -> None:
    image = smooth(150, 150)
    np.testing.assert_allclose(align(image, face_at(), 150), image, atol=1)


def test_a_margin_shows_more_on_each_side() -> None:
    image = smooth(300, 300)
    face = face_at(shift=(75, 75))
    np.testing.assert_allclose(align(image, face, 300, margin=0.5), image, atol=1)
    np.testing.assert_allclose(align(image, face, 180, margin=0.1), image[60:240, 60:240], atol=1)
    np.testing.assert_allclose(align(image, face, 75, margin=-0.25), image[112:187, 112:187], atol=4)


def test_beyond_the_image_is_black() -> None:
    white = np.full((150, 75, 3), 255, dtype=np.uint8)
    chip = align(white, face_at(), 150)
    assert (chip[:, :74] == 255).all() and (chip[:, 76:] == 0).all()
    assert (align(white, face_at(shift=(4000, 0)), 32) == 0).all()


@pytest.mark.parametrize("scale", [3.0, 4.7, 20.0])
def test_fine_stripes_are_averaged(scale: float) -> None:
    side = round(150 * scale)
    stripes = np.zeros((side, side, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    chip = align(stripes, face_at(scale=scale), 75)
    assert np.abs(chip[1:-1, 1:-1].astype(int) - 128).max() <= 16  # a block of 9 pixels has 5 of one colour


@pytest.mark.parametrize(("degrees", "scale"), [(0, 1), (17, 1.3), (-40, 2.2), (90, 3.7), (160, 0.8)])
def test_shrinking_is_nearly_the_mean_of_each_pixels_area(degrees: float, scale: float) -> None:
    centre = (400 - transformed(np.array([[75.0, 75.0]]), degrees, scale, (0, 0))[0]).tolist()
    image, face = smooth(800, 800), face_at(degrees, scale, (centre[0], centre[1]))
    fine = align(image, face, 600).reshape(75, 8, 75, 8, 3).mean(axis=(1, 3))
    assert np.abs(align(image, face, 75) - fine).max() < 4


@pytest.mark.parametrize("size", [1, 16, 112, 700])
def test_the_array_is_writable_and_of_the_size(size: int) -> None:
    chip = align(smooth(100, 90), face_at(scale=0.5), size)
    assert chip.shape == (size, size, 3) and chip.dtype == np.uint8
    chip[0, 0] = 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1)])
def test_tiny_and_narrow_images_are_aligned(shape: tuple[int, int]) -> None:
    assert align(np.full((*shape, 3), 9, dtype=np.uint8), face_at(), 32).shape == (32, 32, 3)


NAN = float("nan")


@pytest.mark.parametrize(
    "landmarks",
    [
        ((50.0, 60.0),) * 5,
        ((0.0, 0.0),) * 5,
        ((NAN, NAN),) * 5,
        (*FACE150.landmarks[:4], (float("inf"), 100.0)),
        tuple((x + 5000, y) for x, y in FACE150.landmarks),
        tuple((x * 30, y * 30) for x, y in FACE150.landmarks),
        tuple((75 + x / 100, 67 + y / 100) for x, y in FACE150.landmarks),
        tuple((x * 1e300, y * 1e300) for x, y in FACE150.landmarks),
    ],
    ids=["coincident", "at zero", "nan", "infinite", "outside", "huge", "minute", "overflow"],
)
def test_unusable_landmarks_are_replaced_by_the_box(landmarks: tuple[tuple[float, float], ...]) -> None:
    transform = face_transform(replace(face_at(), landmarks=landmarks))  # type: ignore[arg-type]
    x, y, width, height = face_at().box
    corners = transform @ np.array([[x, x + width], [y, y + height], [1, 1]])
    np.testing.assert_allclose(corners[0], (0.5 - 0.5 / 1.07, 0.5 + 0.5 / 1.07), atol=1e-9)
    assert corners[:, 0].min() > -0.05 and corners[:, 1].max() < 1.05
    assert align(smooth(150, 150), replace(face_at(), landmarks=landmarks), 64).any()  # type: ignore[arg-type]


def test_a_face_cut_by_the_border_is_aligned_by_its_landmarks() -> None:
    face = face_at(shift=(-60, 0))
    cut = replace(face, box=(0.0, face.box[1], face.box[0] + face.box[2], face.box[3]))
    np.testing.assert_array_equal(face_transform(cut), face_transform(face))


@pytest.mark.parametrize(("degrees", "scale"), [(0, 0.7), (12, 1.0), (-20, 1.6), (8, 3.0)])
def test_a_face_rotated_scaled_and_shifted_is_aligned_to_nearly_the_same_pixels(degrees: float, scale: float) -> None:
    pytest.importorskip("cv2")
    detect = build_detector("yunet")
    image = draw_face(random_person(0, 4), random_photograph(0, 4, 0)).convert("RGB")
    middle = transformed(np.array([[image.width / 2, image.height / 2]]), degrees, scale, (0, 0))[0]
    shift = (450 - middle[0], 350 - middle[1])
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    inverse = similarity(transformed(corners, degrees, scale, shift), corners).ravel().tolist()
    moved = np.asarray(image.transform((900, 700), Image.Transform.AFFINE, inverse, Image.Resampling.BICUBIC))
    (face,) = detect(np.asarray(image))
    chip = align(np.asarray(image), face, 64, margin=-0.1).astype(int)
    x, y, width, height = face.box
    box = (
        transformed(np.array([[x + width / 2, y + height / 2]]), degrees, scale, shift)[0]
        - np.array([width, height]) * scale / 2
    )
    same = replace(
        face,
        box=(box[0], box[1], width * scale, height * scale),
        landmarks=transformed(np.array(face.landmarks), degrees, scale, shift).tolist(),
    )
    assert np.abs(align(moved, same, 64, margin=-0.1) - chip).mean() < 3
    found = align(moved, detect(moved)[0], 64, margin=-0.1)  # the landmarks of drawn faces are less certain than of real ones
    assert np.corrcoef(found.ravel(), chip.ravel())[0, 1] > 0.6
