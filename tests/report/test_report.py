"""The page of a training, as a file and in a browser."""

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
from facecls.report.cross_validation import _joined_heat
from facecls.report.page import image as thumbnail
from tests.conftest import Result
from tests.report.browser import CHROMIUM, open_page

Facecls = Callable[..., Result]
Tiny = Callable[..., Path]

CLICK = """<script>
const head = name => [...document.querySelectorAll("#classes th")].find(each => each.textContent.startsWith(name));
const order = () => [...document.querySelectorAll("#classes tbody tr")].map(row => row.cells[0].textContent).join(" ");
const said = { before: order() };
head("class").querySelector("button").click(); said.class = order();
head("class").querySelector("button").click(); said.reversed = order();
head("recall").querySelector("button").click(); said.recall = order();
said.outside = performance.getEntriesByType("resource").filter(each => !each.name.startsWith("data:")).length;
document.body.dataset.said = JSON.stringify(said);
</script>"""


@pytest.fixture(scope="module")
def page(trained: Path, impostors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import sys

    from facecls.cli import app

    path = tmp_path_factory.mktemp("page") / "report.html"
    words = ["report", str(trained), "--strangers", str(impostors), "-o", str(path)]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(sys, "argv", ["facecls", *words])
        app()
    return path


def test_the_page_tells_all_that_it_should(page: Path, trained: Path) -> None:
    text = page.read_text()
    for heading in (
        *("What was trained on what", "How training went", "Do the percentages mean what they say?"),
        *("Does it know whom it does not know?", "Which classes are taken for which?", "Class by class"),
        *("Sure and wrong", "Right and unsure", "Taken for one another", "What is odd about the data?"),
    ):
        assert f">{heading}<" in text
    assert all(name in text for name in read(trained).classes)
    assert "36 train, 12 val" in text and "the threshold in use" in text
    assert len(re.findall("data:image/webp", text)) > 10


def test_the_page_needs_nothing_but_itself(page: Path) -> None:
    text = page.read_text()
    addresses = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", text)
    assert addresses and all(address.startswith("data:") for address in addresses)
    assert "http" not in text.replace("http-equiv", "")
    assert len(text) < 1_000_000


def test_the_columns_of_the_classes_sort_by_what_they_show(page: Path) -> None:
    table = page.read_text().partition('id="classes"')[2].partition("</table>")[0]
    cells = re.findall(r'data-value="([\d.]+)">(?:<span.*?</span>)?([\d.]+)\u00a0%', table)
    assert [f"{100 * float(value):.1f}" for value, _ in cells] == [shown for _, shown in cells]
    recall, precision, f1 = (cells[n::3] for n in range(3))
    assert recall != f1 != precision


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_a_browser_opens_it_without_complaint_and_its_tables_sort(page: Path, trained: Path, tmp_path: Path) -> None:
    clicked = tmp_path / "clicked.html"
    clicked.write_text(page.read_text().replace("</body>", CLICK + "</body>"))
    seen = open_page(clicked, tmp_path)
    assert seen.console == []
    found = re.search('data-said="([^"]*)"', seen.dom)
    assert found is not None
    plain = json.loads(found[1].replace("&quot;", '"'))
    assert plain.pop("outside") == 0
    said = {name: order.split() for name, order in plain.items()}
    classes = list(read(trained).classes)
    assert said["before"] == said["class"] == sorted(classes)
    assert said["reversed"] == sorted(classes, reverse=True)
    recalls = dict(re.findall(r'<td>([^<]+)</td>\s*<td class="number" data-value="([\d.]+)">', page.read_text()))
    assert [float(recalls[name]) for name in said["recall"]] == sorted(map(float, recalls.values()), reverse=True)


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
@pytest.mark.parametrize("mistake", ['<img src="http://127.0.0.1:9/x.png">', "<script>nothing()</script>"])
def test_the_browser_would_have_complained(page: Path, tmp_path: Path, mistake: str) -> None:
    non_finite = tmp_path / "broken.html"
    non_finite.write_text(page.read_text().replace("</body>", mistake + "</body>"))
    assert len(open_page(non_finite, tmp_path).console) == 1


def test_a_checkpoint_alone_makes_a_page(facecls: Facecls, trained: Path, tmp_path: Path) -> None:
    alone = tmp_path / "model.pt"
    alone.write_bytes((trained / "best.pt").read_bytes())
    result = facecls("report", alone)
    assert (result.code, result.out) == (0, f"{tmp_path / 'report.html'}\n")
    text = (tmp_path / "report.html").read_text()
    assert "How training went" not in text and "Class by class" in text and "strangers named" not in text


def test_a_network_without_a_map_gets_a_page_that_says_so(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    facecls("train", tiny(model={"name": "mlp"}, train={"epochs": 1}), "--out", tmp_path / "run")
    assert facecls("report", tmp_path / "run").code == 0
    text = (tmp_path / "run" / "report.html").read_text()
    assert "Where the network looked cannot be shown: model.name: `mlp` has no feature map" in text


def test_names_are_shown_as_they_are_and_never_run(facecls: Facecls, tiny: Tiny, faces: Path, tmp_path: Path) -> None:
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
    for words in (("report", trained, "-o"), ("check", tiny(), "--html")):
        result = facecls(*words, path)
        assert result.code == 1
        told = f"error: {path.parent}: cannot be created: {reason}\n\nhint: choose a file in another folder\n"
        assert result.err.endswith(told)


def test_a_page_takes_no_other_files_place(facecls: Facecls, tiny: Tiny, trained: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("data: {root: x}\n")
    for words in (("report", trained, "-o"), ("check", tiny(), "--html")):
        told = f"error: {mine}: already exists and is not an HTML page\n\nhint: choose another file name\n"
        assert facecls(*words, mine).err.endswith(told)
        assert mine.read_text() == "data: {root: x}\n"
        page = tmp_path / "page.html"
        assert [facecls(*words, page).code for _ in range(2)] == [0, 0]


def test_a_command_that_mends_a_finding_can_be_copied(facecls: Facecls, tiny: Tiny, faces: Path, tmp_path: Path) -> None:
    root = tmp_path / "faces"
    shutil.copytree(faces, root)
    first = min(root.rglob("0001.*"))
    open_image(first).save(first.with_name("again.jpg"), quality=70)
    facecls("train", tiny(data={"root": str(root)}, train={"epochs": 1}), "--out", tmp_path / "run")
    facecls("report", tmp_path / "run")
    told = "Keep one of each, or at least keep them on one side of a split: --set split.group=near_duplicates</span>"
    assert told in (tmp_path / "run" / "report.html").read_text()


def test_maps_of_folds_that_ended_with_smaller_images_fit_the_others() -> None:
    def maps(side: int) -> Callable[[NDArray[np.int64]], NDArray[np.float32]]:
        return lambda numbers: np.full((len(numbers), side, side), side, np.float32) + numbers[:, None, None]

    joined = _joined_heat([maps(16), maps(32)], np.array([3, 6]), 32)
    heat = joined(np.array([5, 0, 3]))
    assert heat.shape == (3, 32, 32)
    assert heat[:, 4, 4].tolist() == [34, 16, 32]


def test_large_faces_become_thumbnails() -> None:
    data = base64.b64decode(thumbnail(np.zeros((1024, 1024, 3), np.uint8)).partition(",")[2])
    assert Image.open(io.BytesIO(data)).size == (256, 256)
