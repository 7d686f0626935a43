"""The page of a run, as a file and in a browser."""

import base64
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from facecls.checkpoint import read
from facecls.faces.decode import open_image
from facecls.report.cross_validation import _joined_heatmaps
from facecls.report.page import breakable, columns, image_url
from tests.conftest import Result
from tests.report.browser import CHROMIUM, open_page

Facecls = Callable[..., Result]
Tiny = Callable[..., Path]

CLICK = """<script>
const head = name => [...document.querySelectorAll("#classes th")].find(each => each.textContent.startsWith(name));
const order = () => [...document.querySelectorAll("#classes tbody tr")].map(row => row.cells[0].textContent).join(" ");
const orders = { before: order() };
head("class").querySelector("button").click(); orders.class = order();
head("class").querySelector("button").click(); orders.reversed = order();
head("recall").querySelector("button").click(); orders.recall = order();
orders.outside = performance.getEntriesByType("resource").filter(each => !each.name.startsWith("data:")).length;
document.body.dataset.orders = JSON.stringify(orders);
</script>"""


@pytest.fixture(scope="module")
def page(trained: Path, impostors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import sys

    from facecls.cli import app

    path = tmp_path_factory.mktemp("page") / "report.html"
    arguments = ["report", str(trained), "--strangers", str(impostors), "-o", str(path)]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(sys, "argv", ["facecls", *arguments])
        app()
    return path


def test_the_page_has_all_sections(page: Path, trained: Path) -> None:
    text = page.read_text()
    for heading in (
        *("Model and data", "Training curves", "Calibration (reliability diagram)", "Open-set recognition"),
        *("Confusion matrix", "Per-class metrics", "Most confident mistakes", "Least confident correct predictions"),
        *("Most confused pairs", "Data findings"),
    ):
        assert f">{heading}<" in text
    assert all(name in text for name in read(trained).classes)
    assert "36 train, 12 val" in text and "stored threshold" in text
    assert len(re.findall("data:image/webp", text)) > 10


def test_the_page_loads_nothing_from_outside(page: Path) -> None:
    text = page.read_text()
    urls = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", text)
    assert urls and all(url.startswith("data:") for url in urls)
    assert "http" not in text.replace("http-equiv", "")
    assert len(text) < 1_000_000


def test_the_columns_of_the_class_table_sort_by_the_shown_values(page: Path) -> None:
    table = page.read_text().partition('id="classes"')[2].partition("</table>")[0]
    cells = re.findall(r'data-value="([\d.]+)">(?:<span.*?</span>)?([\d.]+)\u00a0%', table)
    assert [f"{100 * float(value):.1f}" for value, _ in cells] == [shown for _, shown in cells]
    recall, precision, f1 = (cells[n::3] for n in range(3))
    assert recall != f1 != precision


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_a_browser_reports_no_errors_and_the_tables_sort(page: Path, trained: Path, tmp_path: Path) -> None:
    clicked = tmp_path / "clicked.html"
    clicked.write_text(page.read_text().replace("</body>", CLICK + "</body>"))
    opened = open_page(clicked, tmp_path)
    assert opened.console == []
    found = re.search('data-orders="([^"]*)"', opened.dom)
    assert found is not None
    plain = json.loads(found[1].replace("&quot;", '"'))
    assert plain.pop("outside") == 0
    orders = {name: order.split() for name, order in plain.items()}
    classes = list(read(trained).classes)
    assert orders["before"] == orders["class"] == sorted(classes)
    assert orders["reversed"] == sorted(classes, reverse=True)
    recalls = dict(re.findall(r'<td>([^<]+)</td>\s*<td class="number" data-value="([\d.]+)">', page.read_text()))
    assert [float(recalls[name]) for name in orders["recall"]] == sorted(map(float, recalls.values()), reverse=True)


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
@pytest.mark.parametrize("mistake", ['<img src="http://127.0.0.1:9/x.png">', "<script>nothing()</script>"])
def test_the_browser_reports_errors_of_a_broken_page(page: Path, tmp_path: Path, mistake: str) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text(page.read_text().replace("</body>", mistake + "</body>"))
    assert len(open_page(broken, tmp_path).console) == 1


def test_a_checkpoint_alone_is_enough_for_a_page(facecls: Facecls, trained: Path, tmp_path: Path) -> None:
    alone = tmp_path / "model.pt"
    alone.write_bytes((trained / "best.pt").read_bytes())
    result = facecls("report", alone)
    assert (result.code, result.out) == (0, f"{tmp_path / 'report.html'}\n")
    text = (tmp_path / "report.html").read_text()
    assert "Training curves" not in text and "Per-class metrics" in text and "false accept rate (FAR)" not in text


def test_the_page_of_a_model_without_a_feature_map_says_why_heat_maps_are_missing(
    facecls: Facecls, tiny: Tiny, tmp_path: Path
) -> None:
    facecls("train", tiny(model={"name": "mlp"}, train={"epochs": 1}), "--out", tmp_path / "run")
    assert facecls("report", tmp_path / "run").code == 0
    text = (tmp_path / "run" / "report.html").read_text()
    assert "There are no Grad-CAM heat maps: model.name: `mlp` has no feature map" in text


def test_class_names_are_escaped(facecls: Facecls, tiny: Tiny, faces: Path, tmp_path: Path) -> None:
    root = tmp_path / "faces"
    for person, name in zip(sorted(faces.iterdir()), ["<script>alert(1)<", "a&b", "Zoë", "日本"], strict=True):
        (root / name.replace("/", "")).mkdir(parents=True)
        for image in person.iterdir():
            (root / name.replace("/", "") / image.name).symlink_to(image)
    facecls("train", tiny(data={"root": str(root)}, train={"epochs": 1}), "--out", tmp_path / "run")
    assert facecls("report", tmp_path / "run").code == 0
    text = (tmp_path / "run" / "report.html").read_text()
    assert "<script>alert" not in text and "&lt;script&gt;alert(1)&lt;" in text
    assert "a&amp;b" in text and "Zoë" in text and "日本" in text


def test_a_page_that_cannot_be_written_is_an_error(facecls: Facecls, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    result = facecls("report", trained, "-o", tmp_path / "taken")
    assert result.code == 1
    taken = tmp_path / "taken"
    assert result.err.endswith(f"error: {taken}: is a folder\n\nhint: name a file in it\n")


@pytest.mark.parametrize(
    ("below", "reason"), [("page.html", "File exists"), ("sub/page.html", "Not a directory")], ids=["beside", "below"]
)
def test_a_page_below_a_file_is_an_error(
    facecls: Facecls, tiny: Tiny, trained: Path, tmp_path: Path, below: str, reason: str
) -> None:
    (tmp_path / "taken").write_text("")
    path = tmp_path / "taken" / below
    for arguments in (("report", trained, "-o"), ("check", tiny(), "--html")):
        result = facecls(*arguments, path)
        assert result.code == 1
        message = f"error: {path.parent}: cannot be created: {reason}\n\nhint: choose a file in another folder\n"
        assert result.err.endswith(message)


def test_a_page_does_not_overwrite_other_files(facecls: Facecls, tiny: Tiny, trained: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("data: {root: x}\n")
    for arguments in (("report", trained, "-o"), ("check", tiny(), "--html")):
        message = f"error: {mine}: already exists and is not an HTML page\n\nhint: choose another file name\n"
        assert facecls(*arguments, mine).err.endswith(message)
        assert mine.read_text() == "data: {root: x}\n"
        page = tmp_path / "page.html"
        assert [facecls(*arguments, page).code for _ in range(2)] == [0, 0]


def test_a_command_that_fixes_a_finding_can_be_copied(facecls: Facecls, tiny: Tiny, faces: Path, tmp_path: Path) -> None:
    root = tmp_path / "faces"
    shutil.copytree(faces, root)
    first = min(root.rglob("0001.*"))
    open_image(first).save(first.with_name("again.jpg"), quality=70)
    facecls("train", tiny(data={"root": str(root)}, split={"group": "none"}, train={"epochs": 1}), "--out", tmp_path / "run")
    facecls("report", tmp_path / "run")
    fix = "Keep one of each, or at least keep them in one split: --set split.group=near_duplicates</span>"
    assert fix in (tmp_path / "run" / "report.html").read_text()


def test_heat_maps_of_folds_that_ended_at_a_smaller_image_size_are_resized() -> None:
    def maps(side: int) -> Callable[[NDArray[np.int64]], NDArray[np.float32]]:
        return lambda numbers: np.full((len(numbers), side, side), side, np.float32) + numbers[:, None, None]

    joined = _joined_heatmaps([maps(16), maps(32)], np.array([3, 6]), 32)
    heat = joined(np.array([5, 0, 3]))
    assert heat.shape == (3, 32, 32)
    assert heat[:, 4, 4].tolist() == [34, 16, 32]


def test_large_faces_become_thumbnails() -> None:
    data = base64.b64decode(image_url(np.zeros((1024, 1024, 3), np.uint8)).partition(",")[2])
    assert Image.open(io.BytesIO(data)).size == (256, 256)


def test_lines_break_after_separators_of_names_only() -> None:
    assert breakable("ada/face_12-b.jpg") == "ada/<wbr>face_<wbr>12-<wbr>b.jpg"
    assert breakable("<b>_&") == "&lt;b&gt;_<wbr>&amp;"


def test_no_row_of_figures_has_a_single_one() -> None:
    assert [columns(range(count)) for count in range(1, 11)] == [1, 2, 3, 4, 3, 3, 4, 4, 3, 4]
