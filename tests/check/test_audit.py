"""The audit reports the problems of a data set, and nothing if there are none."""

import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from facecls.check.audit import Audit, audit, splits_of
from facecls.check.findings import Finding
from facecls.config.schema import DataConfig, SplitConfig
from facecls.data.dataset import index_dataset
from tests.conftest import write_noise

Noise = Callable[..., Path]


def audit_folder(root: Path, cache: Path, split: SplitConfig | None = None, **keys: object) -> Audit:
    data = DataConfig.model_validate({"root": root, "image_size": 32, **keys})
    split = split or SplitConfig()
    return audit(index_dataset(data, split), data, splits_of(data, split), cache_dir=cache)


def finding(result: Audit, kind: str) -> Finding:
    (one,) = [each for each in result.findings if each.kind == kind]
    return one


def names(result: Audit, kind: str) -> list[set[str]]:
    """The file names in each item of a finding."""
    return [{Path(result.images.paths[n]).name for n in item.images} for item in finding(result, kind).items]


@pytest.fixture
def copied(faces: Path, tmp_path: Path) -> Path:
    """A copy of the demo faces that a test may change."""
    return Path(shutil.copytree(faces, tmp_path / "faces"))


def first_of(folder: Path) -> Path:
    return sorted(folder.iterdir())[0]


def test_the_demo_faces_have_no_findings(faces: Path, tmp_path: Path) -> None:
    assert audit_folder(faces, tmp_path).findings == ()


def test_unreadable_images_are_listed_with_their_reason(noise: Noise, tmp_path: Path) -> None:
    root = noise(ada=5, bob=6)
    (root / "ada" / "empty.png").write_bytes(b"")
    whole = (root / "bob" / "bob0.png").read_bytes()
    (root / "bob" / "cut.png").write_bytes(whole[: len(whole) // 2])
    result = audit_folder(root, tmp_path)
    bad = finding(result, "unreadable")
    assert bad.severity == "error" and bad.message == "2 images cannot be read"
    assert bad.fix == "repair or remove them, or train without them: --set data.on_bad_image=skip"
    reasons = {Path(result.images.paths[item.images[0]]).name: item.note for item in bad.items}
    assert reasons == {"empty.png": "is empty", "cut.png": "is cut short"}


def test_an_image_in_two_classes_is_an_error_that_names_both(copied: Path, tmp_path: Path) -> None:
    one, other = sorted(copied.iterdir())[:2]
    source = first_of(one)
    shutil.copy(source, other / f"again{source.suffix}")
    result = audit_folder(copied, tmp_path)
    two = finding(result, "two labels")
    assert two.severity == "error" and two.message == "1 group of identical images in more than one class"
    assert two.items[0].note == f"{one.name} / {other.name}"
    assert names(result, "two labels") == names(result, "duplicates") == [{source.name, f"again{source.suffix}"}]


def test_a_near_duplicate_in_two_splits_is_a_leak(copied: Path, tmp_path: Path) -> None:
    (tmp_path / "splits").mkdir()
    copied.rename(tmp_path / "splits" / "train")
    for person in (tmp_path / "splits" / "train").iterdir():
        held = tmp_path / "splits" / "val" / person.name
        held.mkdir(parents=True)
        for path in sorted(person.iterdir())[:3]:
            path.rename(held / path.name)
    source = first_of(first_of(tmp_path / "splits" / "train"))
    with Image.open(source) as image:
        image.convert("RGB").save(tmp_path / "splits" / "val" / source.parent.name / "again.jpg", quality=60)
    result = audit_folder(tmp_path / "splits", tmp_path)
    leak = finding(result, "leak, near")
    assert leak.severity == "error" and leak.items[0].note == "train / val"
    assert leak.fix == "remove them from one of the folders: images that were trained on must not be evaluated on"
    assert names(result, "leak, near") == [{source.name, "again.jpg"}]


def test_a_split_by_groups_has_no_leaks(copied: Path, tmp_path: Path) -> None:
    for person in copied.iterdir():
        for path in sorted(person.iterdir())[:6]:
            shutil.copy(path, person / f"again{path.name}")
    ungrouped = audit_folder(copied, tmp_path, SplitConfig(group="none"))
    assert "leak" in {each.kind for each in ungrouped.findings}
    grouped = audit_folder(copied, tmp_path, SplitConfig(group="near_duplicates"), cache_dir=tmp_path)
    assert not {"leak", "leak, near"} & {each.kind for each in grouped.findings}
    assert finding(grouped, "duplicates").message == "24 images are copies of another, pixel for pixel"


def test_a_copy_of_a_near_duplicate_is_listed_as_a_copy_only(copied: Path, tmp_path: Path) -> None:
    source = first_of(first_of(copied))
    shutil.copy(source, source.with_name(f"copy{source.suffix}"))
    with Image.open(source) as image:
        image.convert("RGB").save(source.with_name("again.jpg"), quality=60)
    for split, fix in (
        (SplitConfig(), "keep one of each; they are in one split (split.group: near_duplicates)"),
        (
            SplitConfig(group="none"),
            "keep one of each, or at least keep them in one split: --set split.group=near_duplicates",
        ),
    ):
        result = audit_folder(copied, tmp_path, split)
        assert names(result, "duplicates") == [{source.name, f"copy{source.suffix}"}]
        (near,) = names(result, "near-duplicates")
        assert "again.jpg" in near and len(near) == 2
        assert finding(result, "near-duplicates").fix == fix
        assert finding(result, "near-duplicates").message.startswith("1 image is a near-duplicate of another")


def test_small_and_imbalanced_classes_are_found(noise: Noise, tmp_path: Path) -> None:
    result = audit_folder(noise(ada=40, bob=5), tmp_path)
    assert finding(result, "few images").message == "1 class has fewer than 5 training images"
    assert [item.note for item in finding(result, "few images").items] == ["bob: 4 images"]
    assert finding(result, "imbalance").message == (
        "`ada` has 8.0 times the training images of `bob` (32 and 4); always predicting the largest class has an accuracy of "
        "88.9%"
    )


def test_numbers_whose_text_order_differs_are_found(noise: Noise, tmp_path: Path) -> None:
    result = audit_folder(noise(**{"1": 6, "2": 6, "10": 6}), tmp_path)
    assert finding(result, "numeric names").message == (
        "class names are numbers whose text order (`1`, `10`, `2`) is not their numeric order; facecls sorts them as "
        "numbers, torchvision's ImageFolder and other tools as text"
    )
    assert "numeric names" not in {
        each.kind for each in audit_folder(noise(tmp_path / "b", **{"1": 6, "2": 6}), tmp_path).findings
    }


def test_names_that_differ_only_in_case_or_unicode_form_are_an_error(noise: Noise, tmp_path: Path) -> None:
    composed, decomposed = unicodedata.normalize("NFC", "zoë"), unicodedata.normalize("NFD", "zoë")
    result = audit_folder(noise(Ada=6, ada=6, **{composed: 6, decomposed: 6}), tmp_path)
    similar = finding(result, "similar names")
    assert similar.severity == "error"
    assert similar.message == (
        "2 groups of class names that differ only in case, spaces or Unicode form: `Ada` and `ada`; `zoe\\u0308` and `zoë`"
    )


def test_images_without_a_recognisable_face_are_found(copied: Path, tmp_path: Path) -> None:
    person = first_of(copied)
    with Image.open(first_of(person)) as image:
        original = image.convert("RGB")
    original.filter(ImageFilter.GaussianBlur(0.05 * original.width)).save(person / "blurred.png")
    original.point(lambda value: value // 12).save(person / "black.png")
    original.crop((0, 0, original.width, original.height // 5)).save(person / "oblong.png")
    original.resize((12, 12)).save(person / "tiny.png")
    Image.new("RGB", (60, 60), (90, 80, 70)).save(person / "flat.png")
    result = audit_folder(copied, tmp_path)
    for kind in ("blurred", "black", "oblong", "tiny", "flat"):
        assert {f"{kind}.png"} in names(result, kind), kind
        assert finding(result, kind).severity == "warning"
        assert finding(result, kind).message.startswith("1 image is "), kind


def test_grey_images_among_coloured_ones_are_found(copied: Path, tmp_path: Path) -> None:
    one = first_of(copied)
    for path in sorted(one.iterdir()):
        with Image.open(path) as image:
            grey = image.convert("L")
        grey.save(path)
    result = audit_folder(copied, tmp_path)
    assert finding(result, "colour and grey").message == (
        f"13 of 48 images are grey; the grey ones make up 100% of `{one.name}`, 8% of `charlie`"
    )
    assert len(finding(result, "colour and grey").items) == 13


def test_an_image_size_that_predicts_the_class_is_a_shortcut(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(60):
        write_noise(tmp_path / "faces" / "masked" / f"a{number}.png", (40, int(rng.integers(30, 40))))
        write_noise(tmp_path / "faces" / "open" / f"b{number}.png", (40, int(rng.integers(36, 46))))
    message = finding(audit_folder(tmp_path / "faces", tmp_path), "shortcut").message
    assert " alone, without the pixels, predicts the class with " in message and message.endswith("% (chance 50%)")


def test_an_image_size_that_predicts_nothing_is_no_shortcut(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(60):
        for person in ("ada", "bob"):
            write_noise(tmp_path / "faces" / person / f"{person}{number}.png", (40, int(rng.integers(30, 46))))
    assert "shortcut" not in {each.kind for each in audit_folder(tmp_path / "faces", tmp_path).findings}
