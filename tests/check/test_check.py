"""`facecls check` as a person types it: what it prints, what it writes, and how it ends."""

import csv
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from facecls.check.findings import Finding, Item
from facecls.check.page import open_items
from tests.conftest import Result

Facecls = Callable[..., Result]
Tiny = Callable[..., Path]


@pytest.fixture
def spoiled(faces: Path, tmp_path: Path) -> Path:
    """The demo faces with one image in two classes and one that cannot be read."""
    root = Path(shutil.copytree(faces, tmp_path / "faces"))
    one, other = sorted(root.iterdir())[:2]
    source = sorted(one.iterdir())[0]
    shutil.copy(source, other / f"again{source.suffix}")
    (one / "<b>cut &amp; short.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return root


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_check_summarises_the_training_and_finds_nothing(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    result = facecls("check", tiny(data={"cache_dir": str(tmp_path)}), "--strict")
    assert result.code == 0
    assert re.findall(r"^(\w+(?: \w+)?)  ", result.out, re.M) == ["data", "config", "model", "one batch", "time", "memory"]
    assert "no findings in 48 images" in result.out


def test_check_prints_json(facecls: Facecls, tiny: Tiny, tmp_path: Path, spoiled: Path) -> None:
    before = snapshot(spoiled)
    result = facecls("check", tiny(data={"root": str(spoiled), "cache_dir": str(tmp_path)}), "--format", "json")
    assert result.code == 0
    plain = json.loads(result.out)
    assert plain["errors"] == 2 and plain["splits"]["train"] + plain["splits"]["val"] == 50
    assert {"unreadable", "two labels", "duplicates"} <= {each["kind"] for each in plain["findings"]}
    two = next(each for each in plain["findings"] if each["kind"] == "two labels")
    assert [image["class"] for image in two["items"][0]["images"]] == plain["classes"][:2]
    dry_run = plain["dry_run"]
    assert dry_run["steps"] == round(plain["splits"]["train"] / 16) and dry_run["loss"] > 0
    assert dry_run["epoch_seconds"] > dry_run["steps"] * dry_run["step_seconds"]["32"]
    assert dry_run["training_seconds"] == pytest.approx(2 * dry_run["epoch_seconds"])
    assert dry_run["faces_bytes"] == 50 * 3 * 32**2
    assert snapshot(spoiled) == before


def test_the_batch_is_as_large_as_the_steps_of_a_training(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    for batch_size, text, faces, steps in ((32, "40 images per step", 40, 1), (12, "13 or 14 images per step", 14, 3)):
        config = tiny(data={"cache_dir": str(tmp_path)}, train={"batch_size": batch_size}, split={"val": 0.17})
        assert text in facecls("check", config).out
        dry_run = json.loads(facecls("check", config, "--format", "json").out)["dry_run"]
        assert (dry_run["faces"], dry_run["steps"]) == (faces, steps)


def test_thread_pools_are_no_larger_than_the_available_cores(
    facecls: Facecls, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init, pools = ThreadPoolExecutor.__init__, []

    def recording_init(pool: ThreadPoolExecutor, max_workers: int | None = None, *args: Any, **kwargs: Any) -> None:
        pools.append(max_workers)
        init(pool, max_workers, *args, **kwargs)

    monkeypatch.setattr(ThreadPoolExecutor, "__init__", recording_init)
    monkeypatch.setattr("psutil.Process.cpu_affinity", lambda _: [0, 1, 5], raising=False)
    monkeypatch.setattr("facecls.device.cpu_quota", lambda: None)
    facecls("check", tiny(data={"cache_dir": str(tmp_path)}), "--html", tmp_path / "page.html")
    assert len(pools) >= 4 and set(pools) == {3}


def test_strict_exits_1_if_a_finding_is_an_error(facecls: Facecls, tiny: Tiny, tmp_path: Path, spoiled: Path) -> None:
    config = tiny(data={"root": str(spoiled), "cache_dir": str(tmp_path)})
    result = facecls("check", config, "--strict")
    assert result.code == 1
    assert re.search(r"^error +two labels ", result.out, re.M)


def test_the_csv_file_has_a_row_for_every_image_of_a_finding(
    facecls: Facecls, tiny: Tiny, tmp_path: Path, spoiled: Path
) -> None:
    facecls("check", tiny(data={"root": str(spoiled), "cache_dir": str(tmp_path)}), "--csv", tmp_path / "findings.csv")
    with (tmp_path / "findings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    two = [row for row in rows if row["kind"] == "two labels"]
    assert len(two) == 2 and {row["item"] for row in two} == {"1"} and {row["severity"] for row in two} == {"error"}
    assert all(Path(row["path"]).exists() for row in rows if row["path"])


def test_the_page_loads_nothing_from_outside_and_escapes_names(
    facecls: Facecls, tiny: Tiny, tmp_path: Path, spoiled: Path
) -> None:
    facecls("check", tiny(data={"root": str(spoiled), "cache_dir": str(tmp_path)}), "--html", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text().replace("<wbr>", "")
    assert page.count("data:image/webp;base64,") >= 4
    assert "&lt;b&gt;cut &amp;amp; short.png" in page and "<b>cut" not in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page) and "http" not in page.replace("http-equiv", "")


def test_classes_that_cannot_be_split_are_a_finding_and_the_rest_is_still_found(
    facecls: Facecls, tiny: Tiny, tmp_path: Path, spoiled: Path
) -> None:
    (spoiled / "lonely").mkdir()
    shutil.copy(next(path for path in spoiled.rglob("again*")), spoiled / "lonely")
    result = facecls("check", tiny(data={"root": str(spoiled), "cache_dir": str(tmp_path)}), "--format", "json")
    plain = json.loads(result.out)
    assert plain["findings"][0]["kind"] == "no split" and plain["findings"][0]["severity"] == "error"
    assert plain["findings"][0]["message"] == (f"training cannot start: {spoiled / 'lonely'}: has 1 image, a split needs 2")
    assert plain["dry_run"] is not None and plain["splits"] == {"train": 51}


def test_a_folder_that_is_missing_is_an_error(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    result = facecls("check", tiny(data={"root": str(tmp_path / "nowhere")}))
    assert result.code == 1 and result.out == ""
    assert result.err.startswith(f"error: {tmp_path / 'nowhere'}: no such folder")


def test_a_resolution_ramp_is_timed_at_both_ends(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(data={"cache_dir": str(tmp_path), "image_size": 48}, train={"start_size": 16})
    dry_run = json.loads(facecls("check", config, "--format", "json").out)["dry_run"]
    assert list(dry_run["step_seconds"]) == ["16", "48"]


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS refuses names that are not UTF-8")
def test_names_that_are_not_valid_unicode_can_be_shown_and_written(
    facecls: Facecls, tiny: Tiny, tmp_path: Path, spoiled: Path
) -> None:
    one, other = sorted(spoiled.iterdir())[:2]
    one.rename(spoiled / "a\r")
    other.rename(os.fsdecode(os.fsencode(spoiled) + b"/\xff\n"))
    config = tiny(data={"root": str(spoiled), "cache_dir": str(tmp_path)})
    for options in ((), ("--format", "json"), ("--csv", tmp_path / "a.csv"), ("--html", tmp_path / "a.html")):
        result = facecls("check", config, *options)
        assert result.code == 0 and "udcff" in result.out, result.err
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        assert {row["class"] for row in csv.DictReader(file, strict=True)} >= {"a\r", "\udcff\n"}


def test_findings_do_not_overwrite_other_files(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    config, table = tiny(), tmp_path / "findings.csv"
    before = config.read_text()
    result = facecls("check", config, "--csv", config)
    assert (
        result.err == f"error: {config}: already exists and is not a CSV file of findings\n\nhint: choose another file name\n"
    )
    assert config.read_text() == before
    assert [facecls("check", config, "--csv", table).code for _ in range(2)] == [0, 0]
    empty = tmp_path / "empty.csv"
    empty.touch()
    assert facecls("check", config, "--csv", empty).code == 0
    assert facecls("check", config, "--csv", tmp_path).err == f"error: {tmp_path}: is a folder\n\nhint: name a file in it\n"
    os.mkfifo(tmp_path / "pipe")
    assert "already exists and is not an HTML page" in facecls("check", config, "--html", tmp_path / "pipe").err


def test_a_class_called_unknown_is_an_error(facecls: Facecls, tiny: Tiny, faces: Path, tmp_path: Path) -> None:
    root = tmp_path / "faces"
    shutil.copytree(faces, root)
    min(root.iterdir()).rename(root / "unknown")
    config = tiny(data={"root": str(root)})
    findings = json.loads(facecls("check", config, "--format", "json").out)["findings"]
    assert [each["severity"] for each in findings if each["kind"] == "class names"] == ["error"]
    assert facecls("check", config, "--strict").code == 1


def test_what_training_refuses_is_an_error(
    facecls: Facecls, tiny: Tiny, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setattr("facecls.data.stores.choose.available_memory", lambda: 100_000.0)
    few = tmp_path / "few"
    few.mkdir()
    shutil.copy(next(faces.rglob("*.jpg")), few)
    config = tiny(
        data={"store": "memory"},
        train={"tracker": "tensorboard", "sync_batchnorm": True},
        unknown={"strangers": str(few)},
    )
    found = json.loads(facecls("check", config, "--format", "json").out)["findings"]
    errors = {each["kind"]: (each["severity"], each["message"]) for each in found}
    assert errors == {
        "unknown": (
            "error",
            "training cannot start: unknown.target_false_accept: a rate of 0.05 needs at least 19 images of unknown people, "
            "there is 1",
        ),
        "tracker": ("error", "training cannot start: train.tracker: tensorboard is not installed"),
        "sync_batchnorm": ("error", "training cannot start: train.sync_batchnorm: needs CUDA devices, this is cpu"),
        "store": (
            "error",
            "training cannot start: data.store: `memory`: images take 0.1 MB, but only 0.1 MB of memory are free",
        ),
    }
    assert facecls("check", config, "--strict").code == 1


def test_a_disk_that_is_too_small_for_the_store_is_an_error(
    facecls: Facecls, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=60_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    config = tiny(data={"store": "disk", "cache_dir": str(tmp_path / "cache")})
    found = json.loads(facecls("check", config, "--format", "json").out)["findings"]
    (folder,) = (tmp_path / "cache" / "faces").iterdir()
    message = f"training cannot start: {folder}: {{}} images need {{}} MB, but only 60.0 MB are free on this disk"
    assert [(each["severity"], each["message"]) for each in found if each["kind"] == "store"] == [
        ("error", message.format(40, 0.1)),
        ("error", message.format(8, "0.0")),
    ]


def test_a_disk_that_is_too_small_for_the_run_is_an_error(
    facecls: Facecls, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=4_100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    found = json.loads(facecls("check", tiny(), "--format", "json").out)["findings"]
    (finding,) = [each for each in found if each["kind"] == "disk"]
    assert finding["severity"] == "error"
    assert finding["message"].startswith("training cannot start: runs: the checkpoints of a run take up to ")


def test_missing_images_of_unknown_people_are_an_error(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(unknown={"strangers": str(tmp_path / "gone")})
    (finding,) = json.loads(facecls("check", config, "--format", "json").out)["findings"]
    assert (finding["kind"], finding["severity"]) == ("unknown", "error")
    assert finding["message"] == f"training cannot start: {tmp_path / 'gone'}: no such folder"


def test_a_page_shows_about_sixty_images_at_first() -> None:
    def of(*sizes: int) -> Finding:
        return Finding("kind", "info", "message", "fix", tuple(Item(tuple(range(size))) for size in sizes))

    assert open_items([of(*[2] * 40), of(2, 2), of(), of(1)]) == [30, 1, 1, 1]
    assert open_items([of(100), of(*[8] * 10)]) == [1, 6]
    assert open_items([of(*[1] * 20), of(*[1] * 20)]) == [20, 20]


def test_images_beyond_the_first_sixty_unfold(facecls: Facecls, tiny: Tiny, faces: Path, tmp_path: Path) -> None:
    root = tmp_path / "faces"
    shutil.copytree(faces, root)
    for path in sorted(root.rglob("*.*"))[:40]:
        shutil.copy(path, path.with_name(f"again-{path.name}"))
    facecls("check", tiny(data={"root": str(root)}), "--html", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<details><summary>10 more</summary>" in page
    assert page.partition("<details>")[0].count("data:image/webp") == 60
    assert page.count("data:image/webp") == 80
