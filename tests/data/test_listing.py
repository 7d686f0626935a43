"""Paths of many files in little memory; which entries of a folder are classes and images."""

import errno
import os
import pickle
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facecls.data.listing import Paths, class_folders, images_below, natural_key
from facecls.errors import DataError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_paths_behave_like_a_list_of_strings() -> None:
    names = ["a/1.jpg", "b/zwölf 😀.png", "b/new\nline.png", "/elsewhere/c.jpg"]
    paths = Paths.of("root", names)
    expected = ["root/a/1.jpg", "root/b/zwölf 😀.png", "root/b/new\nline.png", "/elsewhere/c.jpg"]
    assert list(paths) == expected and len(paths) == 4
    assert paths[-1] == "/elsewhere/c.jpg" and paths[1:3] == expected[1:3]
    assert [paths.name(index) for index in range(4)] == names
    with pytest.raises(IndexError):
        paths[4]


def test_paths_can_be_indexed_concatenated_and_pickled() -> None:
    paths = Paths.of("root", ["a", "bb", "", "cccc"])
    assert list(paths.take(np.array([3, 0, 3]))) == ["root/cccc", "root/a", "root/cccc"]
    assert list(paths + paths.take(np.array([1]))) == [*paths, "root/bb"]
    assert list(pickle.loads(pickle.dumps(paths))) == list(paths)
    assert len(paths.take(np.array([], np.int64))) == 0


def test_a_name_that_is_not_unicode_is_preserved() -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    assert Paths.of("root", [name]).name(0) == name


def test_each_path_takes_the_length_of_its_name_and_four_bytes() -> None:
    paths = Paths.of("root", [f"person/{number:06}.jpg" for number in range(1000)])
    assert len(pickle.dumps(paths)) < 1000 * (len("person/000000.jpg") + 4) + 1000


def test_numbers_in_names_sort_as_numbers() -> None:
    assert sorted(["s10", "s2", "S1", "s", "2", "10"], key=natural_key) == ["S1", "s", "s2", "s10", "2", "10"]


def test_classes_that_differ_in_leading_zeros_have_a_fixed_order(tmp_path: Path) -> None:
    for name in ("1", "01", "001", "2"):
        (tmp_path / name).mkdir()
    assert class_folders(tmp_path, Counter()) == ["001", "01", "1", "2"]


def test_images_are_those_with_a_known_suffix_in_sorted_order(tmp_path: Path) -> None:
    touch(tmp_path, "ada/b.JPG", "ada/a.png", "ada/c.jpeg", "ada/notes.txt", "ada/.hidden.jpg", "ada/Thumbs.db", "ada/png")
    counts: Counter[str] = Counter()
    assert list(images_below(tmp_path, "ada", counts)) == ["ada/a.png", "ada/b.JPG", "ada/c.jpeg"]
    assert counts == {"hidden or system": 2, "not an image": 2}


def test_a_folder_with_the_suffix_of_an_image_is_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "ada/a.jpg", "ada/album.jpg/1.jpg")
    assert list(images_below(tmp_path, "ada", Counter())) == ["ada/a.jpg", "ada/album.jpg/1.jpg"]


def test_subfolders_belong_to_the_class_in_natural_order(tmp_path: Path) -> None:
    touch(tmp_path, "ada/day10/1.jpg", "ada/day2/1.jpg", "ada/z.jpg")
    assert list(images_below(tmp_path, "ada", Counter())) == ["ada/z.jpg", "ada/day2/1.jpg", "ada/day10/1.jpg"]


def test_circular_links_are_ignored(tmp_path: Path) -> None:
    touch(tmp_path, "ada/day/1.jpg")
    (tmp_path / "ada" / "day" / "again").symlink_to(tmp_path / "ada")
    counts: Counter[str] = Counter()
    assert list(images_below(tmp_path, "ada", counts)) == ["ada/day/1.jpg"]
    assert counts == {"circular link": 1}


def test_a_subfolder_deleted_while_others_are_listed_counts_as_empty(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "day1/1.jpg", "day2/1.jpg", "day3/1.jpg")
    found = images_below(tmp_path, "", Counter())
    assert next(found) == "a.jpg"
    shutil.rmtree(tmp_path / "day1")
    shutil.rmtree(tmp_path / "day2")
    (tmp_path / "day2").touch()
    assert list(found) == ["day3/1.jpg"]


def test_a_subfolder_deleted_as_it_is_opened_counts_as_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.jpg", "day1/1.jpg", "day2/1.jpg")
    original = os.scandir

    def scandir(folder: bytes) -> Any:
        if folder.endswith(b"day1"):
            Path(os.fsdecode(folder)).rename(tmp_path / ".gone")
        return original(folder)

    monkeypatch.setattr("os.scandir", scandir)
    counts: Counter[str] = Counter()
    assert list(images_below(tmp_path, "", counts)) == ["a.jpg", "day2/1.jpg"] and not counts


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        list(images_below(tmp_path / "gone", "", Counter()))
    assert str(caught.value) == f"{tmp_path / 'gone'}: cannot be read: no such file or directory"


def test_a_link_that_cannot_be_followed_is_not_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "ada/1.jpg")
    for name in ("ada/2.jpg", "ada/more", "bob"):
        (tmp_path / name).symlink_to(tmp_path / name)
    counts: Counter[str] = Counter()
    assert class_folders(tmp_path, counts) == ["ada"]
    assert list(images_below(tmp_path, "ada", counts)) == ["ada/1.jpg", "ada/2.jpg"]  # decoding it reports the reason
    assert counts == {"outside the class folders": 1, "not an image": 1}


def test_a_subfolder_without_permission_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "ada/day/1.jpg")

    def forbid(call: Callable[..., Any]) -> Callable[..., Any]:
        def forbidden(path: Any, *arguments: Any, **options: Any) -> Any:
            if isinstance(path, bytes) and path.endswith(b"day"):  # as root has all permissions
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            return call(path, *arguments, **options)

        return forbidden

    with monkeypatch.context() as patch:
        for name in ("stat", "scandir"):
            patch.setattr(os, name, forbid(getattr(os, name)))
        with pytest.raises(DataError) as caught:
            list(images_below(tmp_path, "ada", Counter()))
    assert str(caught.value) == f"{tmp_path / 'ada' / 'day'}: cannot be read: permission denied"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root has all permissions")
def test_a_folder_without_permission_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "ada/1.jpg")
    (tmp_path / "ada").chmod(0)
    with pytest.raises(DataError) as caught:
        list(images_below(tmp_path, "ada", Counter()))
    (tmp_path / "ada").chmod(0o700)
    assert str(caught.value) == f"{tmp_path / 'ada'}: cannot be read: permission denied"
