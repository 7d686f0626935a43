"""`facecls check` on photographs: what the detector found in them, and whether it should be used."""

import csv
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import facecls as api
from facecls.check.faces import turn
from facecls.check.photographs import FaceSample, sample, sample_of
from facecls.faces.detect import DetectedFace
from facecls.faces.photograph import FoundFaces
from tests.conftest import Result

Facecls = Callable[..., Result]
Tiny = Callable[..., Path]
Points = tuple[tuple[float, float], ...]

FRONTAL = ((30.0, 40.0), (70.0, 40.0), (50.0, 60.0), (35.0, 80.0), (65.0, 80.0))


@pytest.fixture(autouse=True)
def _needs_opencv() -> None:
    pytest.importorskip("cv2")


@pytest.fixture
def doubtful(photographs: Path, tmp_path: Path) -> Path:
    """The photographs, with an image without a face, one with a small face and, of one person, four with several faces."""
    root = Path(shutil.copytree(photographs, tmp_path / "doubtful"))
    Image.new("RGB", (300, 200), "white").save(root / "person4" / "empty.png")
    with Image.open(root / "person4" / "0.png") as image:
        image.resize((96, 72)).save(root / "person4" / "small.png")
    for number in range(5):
        paths = [root / name / f"{number}.png" for name in ("person8", "person4")]
        pasted = Image.new("RGB", (960, 360))
        for index, path in enumerate(paths):
            with Image.open(path) as image:
                pasted.paste(image, (480 * index, 0))
        pasted.save(paths[0])
    return root


@pytest.fixture
def check(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Runs `facecls check --format json` and returns its findings by kind."""

    def run(root: Path, *options: str | Path, **data: Any) -> dict[str, list[dict[str, Any]]]:
        keys = {"root": str(root), "image_size": 64, "cache_dir": str(tmp_path / "cache"), **data}
        result = facecls("check", tiny(data=keys, split={"val": 0.25, "group": "none"}), "--format", "json", *options)
        assert result.code == 0, result.err
        found: dict[str, list[dict[str, Any]]] = {}
        for finding in json.loads(result.out)["findings"]:
            found.setdefault(finding["kind"], []).append(finding)
        return found

    yield run


def names(finding: dict[str, Any]) -> list[list[str]]:
    """The file names in each item of a finding."""
    return [[Path(image["path"]).name for image in item["images"]] for item in finding["items"]]


def test_images_without_a_face_are_errors_or_warnings(check: Callable[..., Any], doubtful: Path) -> None:
    message = "no face was found in 1 image ({}): 1 of `person4`"
    for choice, severity, what in (
        ("error", "error", "stops training"),
        ("skip", "warning", "left out"),
        ("whole", "warning", "used as a whole"),
    ):
        (finding,) = check(doubtful, faces="detect", on_no_face=choice)["no face"]
        assert (finding["severity"], finding["message"]) == (severity, message.format(what))
        assert names(finding) == [["empty.png"]]
        upright = "turn those upright that lie on their side, and remove the others"
        options = ", leave them out with --set data.on_no_face=skip, or use them as a whole with --set data.on_no_face=whole"
        assert finding["fix"] == upright + (options if choice == "error" else "")


def test_a_class_whose_images_mostly_show_several_faces_is_a_warning(check: Callable[..., Any], doubtful: Path) -> None:
    warning, info = check(doubtful, faces="detect", on_no_face="skip")["several faces"]
    assert (warning["severity"], warning["message"]) == (
        "warning",
        "1 class with several faces in more than half of the images: the largest face, which is used, may be another person's",
    )
    assert [item["note"] for item in warning["items"]] == ["person8: 5 of 8 images"]
    assert sorted(names(warning)[0]) == [f"{number}.png" for number in range(5)]
    assert (info["severity"], info["message"]) == (
        "info",
        "several faces, of which the largest is used, in 5 images: 5 of `person8`",
    )
    assert {item["note"] for item in info["items"]} == {"2 faces"}


def test_faces_with_few_pixels_are_a_warning(check: Callable[..., Any], doubtful: Path) -> None:
    (finding,) = check(doubtful, faces="detect", on_no_face="skip")["small faces"]
    assert finding["message"] == "the face with its margin has fewer than 32 x 32 pixels in 1 image: 1 of `person4`"
    assert names(finding) == [["small.png"]] and finding["severity"] == "warning"


def test_the_summary_counts_faces_and_the_page_and_the_csv_show_them(
    facecls: Facecls, tiny: Tiny, doubtful: Path, tmp_path: Path
) -> None:
    data = {"root": str(doubtful), "image_size": 64, "faces": "detect", "on_no_face": "skip"}
    config = tiny(data=data, split={"val": 0.25, "group": "none"})
    result = facecls("check", config, "--html", tmp_path / "page.html", "--csv", tmp_path / "findings.csv")
    assert "faces      one in 12 images, several in 5, none in 1\n" in "".join(
        f"{line.rstrip()}\n" for line in result.out.splitlines()
    )
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/webp") >= 12 and "cannot be read" not in page
    with (tmp_path / "findings.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "several faces"]
    assert len(rows) == 10 and {row["class"] for row in rows} == {"person8"}


def test_photographs_used_as_faces_are_a_warning(
    check: Callable[..., Any], photographs: Path, faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (finding,) = check(photographs)["photographs"]
    assert finding["severity"] == "warning" and finding["fix"] == "find the faces first: --set data.faces=detect"
    assert finding["message"] == (
        "in 16 of 16 sampled images the face covers 2 to 4 % of the area: these look like whole photographs, but each is used "
        "as one face"
    )
    assert "photographs" not in check(faces) and "photographs" not in check(photographs, faces="detect")
    assert " % of the area of the central 80%: these look" in check(photographs, crop=0.8)["photographs"][0]["message"]
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert "photographs" not in check(photographs)


def test_face_crops_in_which_no_face_is_found_should_be_used_as_they_are(
    check: Callable[..., Any], photographs: Path, tmp_path: Path
) -> None:
    root = tmp_path / "white"
    shutil.copytree(photographs, root)
    for path in sorted(root.rglob("*.png"))[:12]:
        Image.new("RGB", (64, 64), (255, 255, int(path.stem))).save(path)
    found = check(root, faces="detect", on_no_face="whole")
    assert found["no face"][0]["fix"] == (
        "these do not look like photographs: if each image is one face, use it as it is: --set data.faces=image"
    )


def test_the_report_of_a_run_has_the_findings(tiny: Tiny, doubtful: Path, tmp_path: Path, facecls: Facecls) -> None:
    data = {"root": str(doubtful), "image_size": 32, "faces": "detect", "on_no_face": "skip"}
    config = tiny(data=data, split={"val": 0.25, "group": "none"}, train={"epochs": 1})
    api.train(config, out=tmp_path / "run")
    assert facecls("report", tmp_path / "run").code == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "1 class with several faces in more than half of the images" in page
    assert page.count('<figure class="plain"><img src="data:image/webp') >= 3


def face(width: float, landmarks: Any = FRONTAL) -> DetectedFace:
    return DetectedFace((0, 0, width, width), landmarks, 0.9)


def test_a_turned_face_has_its_nose_off_the_middle_of_the_eyes() -> None:
    assert turn(face(100)) == 0
    turned = np.array(FRONTAL)
    turned[2, 0] += 20
    rotation = np.array([[0.6, 0.8], [-0.8, 0.6]])
    assert turn(face(100, turned)) == turn(face(100, 3 * turned @ rotation)) == pytest.approx(0.5)
    assert turn(face(100, np.zeros((5, 2)))) == 0


def test_images_are_photographs_if_most_show_a_face_and_most_faces_are_small() -> None:
    def of(*widths: int) -> FaceSample:
        return sample_of([FoundFaces(100, 100, (face(width),) if width else ()) for width in widths])

    small, reason = of(10, 20, 44, 50), "in 3 of 4 sampled images the face covers 1 to 19 % of the area"
    assert small.photographs and small.reason == reason
    assert of(5).reason == "in 1 of 1 sampled images the face covers 0.2 % of the area"
    large = of(10, 20, 90, 80)
    assert not large.photographs and large.reason == "in 2 of 4 sampled images the face covers 64 to 81 % of the area"
    few = of(10, 0, 0)
    assert not few.photographs and few.reason == "a face was found in only 1 of 3 sampled images"
    assert of(10, 20, 0).photographs and not of().photographs
    assert not sample_of([FoundFaces(100, 100, (face(30),)), None], crop=0.5).photographs
    assert len(sample([str(number) for number in range(1000)])) == 64 and sample(["a", "b"]) == ["a", "b"]
