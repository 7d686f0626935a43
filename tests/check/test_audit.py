"""The audit names what is wrong with a data set, and is quiet where nothing is."""

import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from facecls.check.audit import Audit, audit
from facecls.check.findings import Finding
from facecls.config.schema import DataConfig, SplitConfig
from facecls.data.dataset import index_dataset
from tests.conftest import write_noise

Noise = Callable[..., Path]


def audited(root: Path, cache: Path, split: SplitConfig | None = None, **keys: object) -> Audit:
    data = DataConfig.model_validate({"root": root, "image_size": 32, **keys})
    return audit(index_dataset(data, split or SplitConfig()), data, cache_dir=cache)


def finding(found: Audit, kind: str) -> Finding:
    (one,) = [each for each in found.findings if each.kind == kind]
    return one


def names(found: Audit, kind: str) -> list[set[str]]:
    """The file names in each item of a finding."""
    return [{Path(found.images.paths[n]).name for n in item.images} for item in finding(found, kind).items]


@pytest.fixture
def copied(faces: Path, tmp_path: Path) -> Path:
    """The drawn faces, free to be spoilt."""
    return Path(shutil.copytree(faces, tmp_path / "faces"))


def first_of(folder: Path) -> Path:
    return sorted(folder.iterdir())[0]


def test_nothing_is_found_in_the_drawn_faces(faces: Path, tmp_path: Path) -> None:
    assert audited(faces, tmp_path).findings == ()


def test_unreadable_images_are_listed_with_their_reason(noise: Noise, tmp_path: Path) -> None:
    root = noise(ada=5, bob=6)
    (root / "ada" / "empty.png").write_bytes(b"")
    whole = (root / "bob" / "bob0.png").read_bytes()
    (root / "bob" / "cut.png").write_bytes(whole[: len(whole) // 2])
    found = audited(root, tmp_path)
    bad = finding(found, "unreadable")
    assert bad.grave and bad.message == "2 images cannot be read"
    assert bad.fix == "mend or remove them, or train without them: --set data.on_bad_image=skip"
    reasons = {Path(found.images.paths[item.images[0]]).name: item.note for item in bad.items}
    assert reasons == {"empty.png": "is empty", "cut.png": "is cut short"}


def test_a_image_in_two_classes_is_grave_and_named_with_both(copied: Path, tmp_path: Path) -> None:
    one, other = sorted(copied.iterdir())[:2]
    source = first_of(one)
    shutil.copy(source, other / f"again{source.suffix}")
    found = audited(copied, tmp_path)
    two = finding(found, "two labels")
    assert two.grave and two.message == "1 group of identical images lies in more than one class"
    assert two.items[0].note == f"{one.name} / {other.name}"
    assert names(found, "two labels") == names(found, "duplicates") == [{source.name, f"again{source.suffix}"}]


def test_a_near_duplicate_in_two_parts_is_a_leak(copied: Path, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    copied.rename(tmp_path / "parts" / "train")
    for person in (tmp_path / "parts" / "train").iterdir():
        held = tmp_path / "parts" / "val" / person.name
        held.mkdir(parents=True)
        for path in sorted(person.iterdir())[:3]:
            path.rename(held / path.name)
    source = first_of(first_of(tmp_path / "parts" / "train"))
    with Image.open(source) as image:
        image.convert("RGB").save(tmp_path / "parts" / "val" / source.parent.name / "again.jpg", quality=60)
    found = audited(tmp_path / "parts", tmp_path)
    leak = finding(found, "leak, near")
    assert leak.grave and leak.items[0].note == "train / val"
    assert leak.fix == "take them out of one of the folders: what was trained on cannot be scored by"
    assert names(found, "leak, near") == [{source.name, "again.jpg"}]


def test_a_split_by_groups_has_no_leaks(copied: Path, tmp_path: Path) -> None:
    for person in copied.iterdir():
        for path in sorted(person.iterdir())[:6]:
            shutil.copy(path, person / f"again{path.name}")
    parted = audited(copied, tmp_path, SplitConfig(group="none"))
    assert "leak" in {each.kind for each in parted.findings}
    grouped = audited(copied, tmp_path, SplitConfig(group="near_duplicates"), cache_dir=tmp_path)
    assert not {"leak", "leak, near"} & {each.kind for each in grouped.findings}
    assert finding(grouped, "duplicates").message == "24 images are copies of another, pixel for pixel"


def test_small_and_uneven_classes_are_found(noise: Noise, tmp_path: Path) -> None:
    found = audited(noise(ada=40, bob=5), tmp_path)
    assert finding(found, "few images").message == "1 class has fewer than 5 images to train on"
    assert [item.note for item in finding(found, "few images").items] == ["bob: 4 images"]
    assert finding(found, "imbalance").message == (
        "`ada` has 8.0 times the images of `bob` (32 and 4); who always says the largest is right 88.9% of the time"
    )


def test_numbers_that_sort_otherwise_as_text_are_found(noise: Noise, tmp_path: Path) -> None:
    found = audited(noise(**{"1": 6, "2": 6, "10": 6}), tmp_path)
    assert finding(found, "numeric names").message == (
        "classes are called by numbers that sort otherwise as text (`1`, `10`, `2`): here they are in the order of the "
        "numbers, in torchvision's ImageFolder and other tools in that of the text"
    )
    assert "numeric names" not in {each.kind for each in audited(noise(tmp_path / "b", **{"1": 6, "2": 6}), tmp_path).findings}


def test_names_that_differ_only_in_case_or_unicode_form_are_grave(noise: Noise, tmp_path: Path) -> None:
    composed, parted = unicodedata.normalize("NFC", "zoë"), unicodedata.normalize("NFD", "zoë")
    found = audited(noise(Ada=6, ada=6, **{composed: 6, parted: 6}), tmp_path)
    similar = finding(found, "similar names")
    assert similar.grave
    assert similar.message == (
        "2 groups of classes differ only in case or Unicode form: `Ada` and `ada`; `zoe\\u0308` and `zoë`"
    )


def test_images_that_show_too_little_are_found(copied: Path, tmp_path: Path) -> None:
    person = first_of(copied)
    with Image.open(first_of(person)) as image:
        original = image.convert("RGB")
    original.filter(ImageFilter.GaussianBlur(0.05 * original.width)).save(person / "blurred.png")
    original.point(lambda value: value // 12).save(person / "black.png")
    original.crop((0, 0, original.width, original.height // 5)).save(person / "oblong.png")
    original.resize((12, 12)).save(person / "tiny.png")
    Image.new("RGB", (60, 60), (90, 80, 70)).save(person / "flat.png")
    found = audited(copied, tmp_path)
    for kind in ("blurred", "black", "oblong", "tiny", "flat"):
        assert {f"{kind}.png"} in names(found, kind), kind
        assert not finding(found, kind).grave
        assert finding(found, kind).message.startswith("1 image is "), kind


def test_grey_images_among_coloured_ones_are_found(copied: Path, tmp_path: Path) -> None:
    one = first_of(copied)
    for path in sorted(one.iterdir()):
        with Image.open(path) as image:
            grey = image.convert("L")
        grey.save(path)
    found = audited(copied, tmp_path)
    assert finding(found, "colour and grey").message == (
        f"13 of 48 images are grey; the grey ones make up 100% of `{one.name}`, 8% of `charlie`"
    )
    assert len(finding(found, "colour and grey").items) == 13


def test_a_size_that_tells_the_class_is_a_shortcut(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    for number in range(60):
        write_noise(tmp_path / "faces" / "masked" / f"a{number}.png", (40, int(chance.integers(30, 40))))
        write_noise(tmp_path / "faces" / "open" / f"b{number}.png", (40, int(chance.integers(36, 46))))
    message = finding(audited(tmp_path / "faces", tmp_path), "shortcut").message
    assert message.startswith("without a look at any pixel, ") and message.endswith("% of cases (by chance 50%)")


def test_a_size_that_tells_nothing_is_no_shortcut(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    for number in range(60):
        for person in ("ada", "bob"):
            write_noise(tmp_path / "faces" / person / f"{person}{number}.png", (40, int(chance.integers(30, 46))))
    assert "shortcut" not in {each.kind for each in audited(tmp_path / "faces", tmp_path).findings}
