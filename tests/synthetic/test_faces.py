"""Synthetic faces: the same numbers give the same bytes, and the set is as awkward as real photographs are."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from facecls.errors import DataError
from facecls.synthetic.draw import draw_face
from facecls.synthetic.people import Photograph, invent_person, name_person, take_photograph
from facecls.synthetic.write import save_photograph, write_faces

ORIENTATION = 0x0112


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")}


def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        list(write_faces(tmp_path / name, people=3, each=8, seed=5))
    assert len(contents(tmp_path / "one")) == 24
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_more_people_and_images_leave_the_earlier_ones_alone(tmp_path: Path) -> None:
    list(write_faces(tmp_path / "few", people=2, each=3, seed=0))
    list(write_faces(tmp_path / "more", people=3, each=5, seed=0))
    assert contents(tmp_path / "few").items() <= contents(tmp_path / "more").items()


def test_another_seed_gives_other_people() -> None:
    assert invent_person(0, 0) != invent_person(1, 0)


def test_strangers_are_people_whom_the_others_do_not_include(tmp_path: Path) -> None:
    paths = write_faces(tmp_path / "strangers", people=2, each=1, seed=0, first_person=12)
    assert [path.parent.name for path in paths] == [name_person(12), name_person(13)] == ["mika", "noa"]
    assert len({invent_person(0, number) for number in range(60)}) == 60


def test_every_person_has_a_name_of_their_own() -> None:
    assert len({name_person(number) for number in range(200)}) == 200
    assert [name_person(number) for number in (0, 26, 52)] == ["ari", "ari2", "ari3"]


def test_each_path_is_yielded_once_its_image_is_there(tmp_path: Path) -> None:
    for path in islice(write_faces(tmp_path / "faces", people=2, each=40, seed=0), 3):
        Image.open(path).verify()
    assert [path.stem for path in sorted((tmp_path / "faces" / "ari").iterdir())] == ["0001", "0002", "0003"]


def test_formats_sizes_greys_and_all_orientations_appear() -> None:
    photographs = [take_photograph(0, person, image) for person in range(12) for image in range(40)]
    assert {p.suffix for p in photographs} == {".jpg", ".png", ".webp", ".bmp", ".pgm"}
    assert {p.orientation for p in photographs} == set(range(1, 9))
    assert {p.suffix for p in photographs if p.orientation != 1} == {".jpg"}
    assert {p.suffix for p in photographs if p.grey} > {".jpg", ".pgm"}
    assert {p.cover for p in photographs} == {"none", "hat", "scarf", "leaf"}
    assert all(128 <= side <= 208 for p in photographs for side in (p.width, p.height))
    assert 0.5 < np.mean([p.suffix == ".jpg" for p in photographs]) < 0.9


def test_a_turned_file_is_upright_again_for_a_reader_who_heeds_exif(tmp_path: Path) -> None:
    turned: dict[int, Photograph] = {}
    for image in range(400):
        photograph = take_photograph(0, 0, image)
        turned.setdefault(photograph.orientation, photograph)
    assert set(turned) == set(range(1, 9))
    for orientation, photograph in turned.items():
        upright, path = draw_face(invent_person(0, 0), photograph), tmp_path / f"{orientation}.jpg"
        save_photograph(upright, photograph, path)
        with Image.open(path) as stored:
            assert stored.getexif().get(ORIENTATION, 1) == orientation
            read = ImageOps.exif_transpose(stored).convert("RGB")
        assert read.size == upright.size
        error = np.abs(np.asarray(read, dtype=np.int16) - np.asarray(upright.convert("RGB"), dtype=np.int16)).mean()
        assert error < 12  # of 255: what JPEG loses


def test_a_grey_photograph_is_stored_in_grey(tmp_path: Path) -> None:
    photograph = next(p for p in (take_photograph(0, 0, image) for image in range(400)) if p.suffix == ".pgm")
    save_photograph(draw_face(invent_person(0, 0), photograph), photograph, tmp_path / "face.pgm")
    with Image.open(tmp_path / "face.pgm") as stored:
        assert stored.mode == "L"


def test_every_style_can_be_drawn_and_looks_unlike_the_others() -> None:
    photograph = take_photograph(0, 0, 1)
    images = [np.asarray(draw_face(invent_person(0, number), photograph), dtype=np.float64) for number in range(14)]
    assert len({invent_person(0, number).hair for number in range(14)}) == 14
    differences = [np.abs(a - b).mean() for i, a in enumerate(images) for b in images[:i]]
    assert min(differences) > 2


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_place_that_is_taken_is_refused_before_anything_is_drawn(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "faces"
    if kind == "file":
        folder.write_text("mine")
    else:
        folder.mkdir()
        (folder / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="is already there and not an empty folder") as caught:
        write_faces(folder, people=1, each=1, seed=0)
    assert str(folder) in str(caught.value)
    assert caught.value.hint
    assert len(list(tmp_path.rglob("*"))) == (1 if kind == "file" else 2)


def test_an_empty_folder_is_welcome(tmp_path: Path) -> None:
    assert list(write_faces(tmp_path, people=1, each=1, seed=0)) == [tmp_path / "ari" / "0001.jpg"]


def test_a_linear_model_on_pixels_does_not_do() -> None:
    """A demo that colour alone could solve would show nothing."""
    pixels, people = [], np.repeat(np.arange(12), 16)
    for number in range(12):
        for image in range(16):
            face = draw_face(invent_person(0, number), take_photograph(0, number, image)).convert("RGB")
            pixels.append(np.asarray(ImageOps.fit(face, (24, 24)), dtype=np.float64).ravel() / 255)
    x = np.stack(pixels)
    held_out = np.arange(len(x)) % 4 == 3
    x -= x[~held_out].mean(axis=0)
    kernel = x[~held_out] @ x[~held_out].T
    weights = np.linalg.solve(kernel + 30 * np.eye(len(kernel)), np.eye(12)[people[~held_out]])  # ridge regression
    guesses = (x[held_out] @ x[~held_out].T @ weights).argmax(axis=1)
    accuracy = float(np.mean(guesses == people[held_out]))
    assert 1 / 12 < accuracy < 0.6
