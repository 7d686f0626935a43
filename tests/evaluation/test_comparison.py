"""The comparison of several runs: paired test, page, errors."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

import facecls as api
from facecls.evaluation.comparison import PairedTest, holm
from tests.conftest import Result
from tests.report.browser import CHROMIUM, open_page

Facecls = Callable[..., Result]
Tiny = Callable[..., Path]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, faces: Path) -> list[Path]:
    """A run of twelve epochs and one of a single epoch, on the same split."""
    root = tmp_path_factory.mktemp("runs")
    config = {"device": "cpu", "precision": "fp32", "data.root": faces, "data.image_size": 32, "model.name": "cnn"}
    for name, epochs in (("long", 12), ("short", 1)):
        api.train(config | {"train.epochs": epochs, "train.batch_size": 8, "split.val": 0.25}, out=root / name)
    return [root / "long", root / "short"]


def test_the_paired_test_counts_images_that_one_run_classifies_correctly(runs: list[Path]) -> None:
    comparison = api.compare(runs)
    (test,) = comparison.tests
    right = [each.outputs.logits.argmax(axis=1) == each.split.image_list.labels for each in comparison.evaluations]
    assert test.n == len(right[0]) == 12
    assert len(test.only_first) == (right[0] & ~right[1]).sum() and len(test.only_second) == (right[1] & ~right[0]).sum()
    assert test.both == (right[0] & right[1]).sum()
    discordant = len(test.only_first) + len(test.only_second)
    smaller = min(len(test.only_first), len(test.only_second))
    assert test.p_value == pytest.approx(min(1, 2 * binom.cdf(smaller, discordant, 0.5))) == test.p_adjusted
    assert test.difference == pytest.approx(right[1].mean() - right[0].mean())
    plain = comparison.to_plain()
    assert [each["name"] for each in plain["runs"]] == ["long", "short"]
    assert plain["paired_tests"][0]["n"] == 12 and json.dumps(plain)
    assert repr(comparison).startswith("<Comparison: accuracy long ")


def test_the_interval_of_the_difference_covers_its_share_of_samples() -> None:
    random, covered, rounds = np.random.default_rng(0), 0, 2000
    shares = [0.7, 0.12, 0.08, 0.1]  # both, only first, only second, none
    for both, one, two, _ in random.multinomial(200, shares, rounds):
        test = PairedTest(0, 1, 200, np.arange(one), np.arange(two), both, 1.0, 1.0)
        assert test.difference_interval is not None
        low, high = test.difference_interval
        covered += low <= shares[2] - shares[1] <= high
    assert 0.94 < covered / rounds < 0.965


def test_p_values_are_adjusted_by_holms_method() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_page_shows_figures_curves_differences_and_tests(facecls: Facecls, runs: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "comparison.html"
    result = facecls("report", *runs, "-o", path)
    assert (result.code, result.out) == (0, f"{path}\n")
    text = path.read_text()
    for heading in ("Figures", "Paired tests", "Training curves", "Differences of the configs"):
        assert f">{heading}<" in text
    assert "<td><code>train.epochs</code></td>" in text and "data.root" not in text
    assert text.count('class="line run-1"') == text.count('class="line run-2"') == 3
    assert "Correct with long, wrong with short" in text


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_page_opens_without_outside_requests(facecls: Facecls, runs: list[Path], tmp_path: Path) -> None:
    facecls("report", *runs, "-o", tmp_path / "page.html")
    opened = open_page(tmp_path / "page.html", tmp_path)
    assert opened.console == [] and "Paired tests" in opened.dom


def test_runs_without_common_images_are_told_how_to_get_them(
    facecls: Facecls, runs: list[Path], tmp_path: Path, impostors: Path
) -> None:
    other = {"device": "cpu", "precision": "fp32", "data.root": impostors, "data.image_size": 32, "model.name": "cnn"}
    api.train(other | {"train.epochs": 1, "split.val": 0.5, "split.group": "none"}, out=tmp_path / "other")
    assert facecls("report", runs[0], tmp_path / "other", "-o", tmp_path / "page.html").code == 0
    assert "no common images: give both the same split" in (tmp_path / "page.html").read_text()


def test_runs_of_the_same_name_are_named_by_their_paths(runs: list[Path], tmp_path: Path) -> None:
    shutil.copytree(runs[0], tmp_path / "long")
    assert api.compare([runs[0], tmp_path / "long"]).names == (str(runs[0]), str(tmp_path / "long"))


@pytest.mark.parametrize(
    ("arguments", "problem", "hint"),
    [
        (("--groups", "groups.csv"), "--groups is for the report of one checkpoint", "leave it out, or name one checkpoint"),
        (("-o", "old.html"), "old.html: already exists and is not an HTML page", "choose another file name"),
    ],
)
def test_mistakes_of_a_comparison_are_named(
    facecls: Facecls,
    runs: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[Any, ...],
    problem: str,
    hint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.html").write_text("mine")
    result = facecls("report", *runs, *arguments)
    assert result.code in (1, 2) and result.err.endswith(f"error: {problem}\n\nhint: {hint}\n")
    assert (tmp_path / "old.html").read_text() == "mine"


def test_a_page_compares_eight_runs_at_most(facecls: Facecls, runs: list[Path]) -> None:
    result = facecls("report", *runs * 5)
    assert result.code == 1 and result.err == "error: a page compares at most 8 runs, got 10\n\nhint: name fewer of them\n"
    with pytest.raises(ValueError, match="a comparison takes a list of at least two classifiers"):
        api.compare(runs[:1])
