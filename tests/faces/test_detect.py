"""Face detection: where faces are found, sizes, retries, odd images, threads and errors."""

import math
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facecls.errors import InstallError, ModelError
from facecls.faces.decode import open_image
from facecls.faces.detect import DETECTORS, DetectedFace, Detector, DetectorOptions, Pixels, _merged, build_detector, main_face
from facecls.synthetic.draw import draw_face
from facecls.synthetic.people import random_person, random_photograph
from facecls.weights import WEIGHTS

cv2: Any = pytest.importorskip("cv2")

RESEARCH_DATA = Path(__file__).parents[2].parent / "shared" / "data"


def drawn(person: int, number: int = 0, side: int | None = None) -> Pixels:
    """The image of a synthetic person, scaled to a square of `side` pixels if that is given."""
    image = draw_face(random_person(0, person), random_photograph(0, person, number)).convert("RGB")
    return np.asarray(image if side is None else image.resize((side, side)))


def scene(width: int, height: int, *faces: tuple[Pixels, int, int]) -> Pixels:
    """A grey image with others pasted at x, y."""
    image = np.full((height, width, 3), 90, dtype=np.uint8)
    for face, x, y in faces:
        image[y : y + face.shape[0], x : x + face.shape[1]] = face
    return image


@pytest.fixture(scope="module")
def detect() -> Detector:
    return build_detector("yunet")


@pytest.fixture(scope="module")
def detect_once() -> Detector:
    """The detector without retries."""
    return build_detector("yunet", DetectorOptions(retry=False))


def face(x: float, y: float, width: float, height: float) -> DetectedFace:
    return DetectedFace((x, y, width, height), ((x, y),) * 5, 0.9)


def test_a_face_is_found_with_its_landmarks_in_order(detect: Detector) -> None:
    image = drawn(1)
    (found,) = detect(image)
    x, y, width, height = found.box
    assert x >= 0 and y >= 0 and x + width <= image.shape[1] and y + height <= image.shape[0]
    assert all(x < across < x + width and y < down < y + height for across, down in found.landmarks)
    eye, other_eye, nose, mouth, other_mouth = found.landmarks
    assert eye[0] < nose[0] < other_eye[0] and mouth[0] < other_mouth[0]
    assert max(eye[1], other_eye[1]) < nose[1] < min(mouth[1], other_mouth[1])
    assert 0.6 <= found.score <= 1
    assert all(type(value) is float for value in (*found.box, *eye, found.score))


def test_most_synthetic_faces_are_found(detect: Detector) -> None:
    counts = [len(detect(drawn(person))) for person in range(24)]
    assert sum(counts) >= 22 and max(counts) == 1


@pytest.mark.parametrize(
    ("width", "height", "side"), [(600, 400, 150), (1600, 1200, 400), (4000, 3000, 1400), (4000, 3000, 150)]
)
def test_a_face_is_found_where_it_is_and_once_at_every_size(detect: Detector, width: int, height: int, side: int) -> None:
    (alone,) = detect(drawn(4, 0, 200))
    left, top = round(0.55 * width), round(0.4 * height)
    (found,) = detect(scene(width, height, (drawn(4, 0, side), left, top)))
    expected = np.array(alone.landmarks) * (side / 200) + (left, top)
    assert np.abs(np.array(found.landmarks) - expected).max() < 0.1 * side
    assert math.dist(found.box[:2], (alone.box[0] * side / 200 + left, alone.box[1] * side / 200 + top)) < 0.1 * side


def test_small_faces_of_large_images_are_found_at_the_larger_size() -> None:
    image = scene(1280, 960, (drawn(4, 0, 60), 900, 300))
    assert build_detector("yunet", DetectorOptions(sizes=(320,)))(image) == []
    assert len(build_detector("yunet", DetectorOptions(sizes=(320, 1280)))(image)) == 1


def test_the_largest_face_is_first(detect: Detector) -> None:
    found = detect(scene(900, 500, (drawn(1, 0, 100), 20, 20), (drawn(3, 0, 300), 500, 100), (drawn(4, 0, 180), 200, 200)))
    areas = [face.box[2] * face.box[3] for face in found]
    assert len(found) == 3 and areas == sorted(areas, reverse=True)
    assert found[0].box[0] > 500


def test_two_hundred_faces_are_found(detect: Detector) -> None:
    faces = [(drawn(number % 24, 1, 96), number % 20 * 100, number // 20 * 100) for number in range(200)]
    assert 170 <= len(detect(scene(2000, 1000, *faces))) <= 200


@pytest.mark.parametrize("turn", range(4))
def test_the_box_of_a_face_cut_by_the_border_is_inside_the_image(detect: Detector, turn: int) -> None:
    image = drawn(1, 0, 200)
    (whole,) = detect(image)
    cut = image[:, round(whole.box[0] + 0.2 * whole.box[2]) :]
    found = detect(np.rot90(np.rot90(cut, turn), -turn))  # a view with other strides
    x, y, width, height = found[0].box
    assert x >= 0 and y >= 0 and x + width <= cut.shape[1] and y + height <= cut.shape[0]
    assert width < whole.box[2]


def test_a_face_that_fills_the_image_is_found_by_a_retry(detect: Detector, detect_once: Detector) -> None:
    image = drawn(0)
    x, y, width, height = map(int, detect(image)[0].box)
    tight = image[y : y + height, x : x + width]
    for side in (48, 900):
        filled = np.asarray(Image.fromarray(tight).resize((side, side)))
        assert (len(detect_once(filled)), len(detect(filled))) == (0, 1)
        box = detect(filled)[0].box
        assert min(box[2:]) > 0.6 * side and max(box[2:]) <= side


@pytest.mark.parametrize("person", [1, 3, 4])
def test_a_badly_lit_face_is_found_by_a_retry(detect: Detector, detect_once: Detector, person: int) -> None:
    dark = (drawn(person) * 0.06).astype(np.uint8)
    assert (len(detect_once(dark)), len(detect(dark))) == (0, 1)


@pytest.mark.parametrize("value", [0, 127, 255])
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (31, 5), (32, 320), (640, 32), (33, 65), (2000, 100), (64, 64)])
def test_nothing_is_found_in_an_image_of_one_colour(detect: Detector, size: tuple[int, int], value: int) -> None:
    assert detect(np.full((size[1], size[0], 3), value, dtype=np.uint8)) == []


@pytest.mark.parametrize("turned", [False, True])
def test_faces_in_a_panorama_are_found(detect: Detector, turned: bool) -> None:
    faces = drawn(4, 0, 280), drawn(8, 0, 280)
    if turned:
        image = scene(400, 8000, (faces[0], 60, 700), (faces[1], 60, 6100))
    else:
        image = scene(8000, 400, (faces[0], 700, 60), (faces[1], 6100, 60))
    assert len(detect(image)) == 2


def test_a_grey_face_is_found(detect: Detector) -> None:
    grey = np.asarray(Image.fromarray(drawn(1)).convert("L").convert("RGB"))
    assert len(detect(grey)) == 1


def test_the_image_is_not_changed_and_may_be_read_only(detect: Detector) -> None:
    image = drawn(1, 0, 900).copy()
    before = image.copy()
    image.flags.writeable = False
    detect(image)
    np.testing.assert_array_equal(image, before)


def test_several_threads_find_the_same(detect: Detector) -> None:
    images = [drawn(person, number) for person in range(6) for number in range(3)]
    expected = [detect(image) for image in images]
    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(detect, images)) == expected


def test_the_number_of_threads_of_opencv_is_left_as_it_is() -> None:
    before = cv2.getNumThreads()
    build_detector("yunet")(drawn(1))
    assert cv2.getNumThreads() == before


def test_a_higher_least_score_drops_faces() -> None:
    image = drawn(1)
    (found,) = build_detector("yunet", DetectorOptions(min_score=found_score(image) - 0.01, retry=False))(image)
    assert build_detector("yunet", DetectorOptions(min_score=found.score + 0.01, retry=False))(image) == []


def found_score(image: Pixels) -> float:
    return build_detector("yunet")(image)[0].score


def row(x: float, y: float, side: float, score: float) -> list[float]:
    return [x, y, side, side, *([x + side / 2, y + side / 2] * 5), score]


def test_boxes_of_one_face_are_averaged_by_score() -> None:
    merged = _merged(np.array([row(102, 100, 50, 0.6), row(100, 100, 50, 0.9), row(300, 100, 50, 0.7)]))
    np.testing.assert_allclose(merged, [row(100.8, 100, 50, 0.9), row(300, 100, 50, 0.7)])


def test_boxes_that_overlap_or_lie_inside_another_are_dropped() -> None:
    overlapping, inside, beside = row(120, 100, 50, 0.7), row(105, 105, 20, 0.8), row(145, 100, 50, 0.65)
    merged = _merged(np.array([overlapping, row(100, 100, 50, 0.9), inside, beside]))
    np.testing.assert_allclose(merged, [row(100, 100, 50, 0.9), beside])


def test_the_main_face_is_the_largest_then_the_most_central() -> None:
    large, small = face(0, 0, 50, 50), face(90, 90, 30, 30)
    assert main_face([small, large], 200, 200) is large
    left, middle = face(0, 80, 52, 52), face(80, 80, 50, 50)
    assert main_face([left, middle], 200, 200) is middle
    assert main_face([left, middle], 60, 200) is left


def test_an_unknown_detector_is_an_error() -> None:
    with pytest.raises(ModelError) as raised:
        build_detector("yunett")
    assert str(raised.value) == "`yunett` is not a face detector"
    assert raised.value.hint == "did you mean `yunet`?"
    with pytest.raises(ModelError) as raised:
        build_detector("mtcnn")
    assert raised.value.hint == f"the detectors are {', '.join(f'`{name}`' for name in DETECTORS)}"


def test_missing_opencv_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(InstallError) as raised:
        build_detector("yunet")
    assert str(raised.value) == (
        "finding faces needs OpenCV, which cannot be imported: import of cv2 halted; None in sys.modules"
    )
    assert raised.value.hint == "install it with `pip install 'facecls[faces]'`"


@pytest.mark.parametrize("content", [b"", b"no weights"])
def test_weights_of_another_kind_are_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "own.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError) as raised:
        build_detector("yunet", DetectorOptions(weights=str(path)))
    assert str(raised.value).startswith(f"{path}: OpenCV cannot run these weights as YuNet: ")
    assert raised.value.hint == f"take those of {WEIGHTS['yunet'].source}"


@pytest.mark.parametrize(("name", "share"), [("lfw20", 1.0), ("orl", 1.0), ("mask600", 0.98), ("fer48", 0.97)])
def test_faces_of_research_data_are_found(detect: Detector, name: str, share: float) -> None:
    paths = sorted(path for path in (RESEARCH_DATA / name).rglob("*") if path.suffix in (".jpg", ".jpeg", ".png", ".pgm"))
    if not paths:
        pytest.skip(f"{RESEARCH_DATA / name} is missing")
    chosen = paths[:: max(1, len(paths) // 200)]
    found = [len(detect(np.asarray(open_image(path)))) > 0 for path in chosen]
    assert np.mean(found) >= share
