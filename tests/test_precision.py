"""`precision: auto`: what is chosen for measured times, its line for the user, and the cache."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from facecls.device import resolve_device
from facecls.precision import fastest_precision, measure

CPU = torch.device("cpu")
Inject = Callable[..., list[str]]


@pytest.fixture
def inject(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Inject:
    """Replaces the measurement by the given seconds; returns the list of purposes measured. The cache is empty."""
    monkeypatch.setattr("facecls.precision.cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr("facecls.precision.processor", lambda: "AMD EPYC")
    measured: list[str] = []

    def replace(**seconds: float) -> list[str]:
        def measure(_: torch.device, purpose: str, candidates: list[str]) -> dict[str, float]:
            measured.append(purpose)
            return {name: seconds[name] for name in candidates if name in seconds}

        monkeypatch.setattr("facecls.precision.measure", measure)
        return measured

    return replace


@pytest.mark.parametrize(
    ("seconds", "precision", "reason"),
    [
        ({"fp32": 0.21, "bf16": 0.1}, "bf16", "2.1 times as fast as fp32"),
        ({"fp32": 0.104, "bf16": 0.1}, "fp32", "about as fast as bf16"),
        ({"fp32": 0.106, "bf16": 0.1}, "bf16", "1.1 times as fast as fp32"),
        ({"fp32": 0.1, "bf16": 0.29}, "fp32", "2.9 times as fast as bf16"),
    ],
)
def test_auto_is_the_fastest_and_fp32_if_that_is_within_5_percent(
    inject: Inject, seconds: dict[str, float], precision: str, reason: str
) -> None:
    inject(**seconds)
    device = resolve_device("cpu", "auto")
    assert device.precision == precision
    assert device.note == f"precision auto: {precision}, {reason} (measured on AMD EPYC, 1 thread)"


def test_a_precision_that_does_not_work_is_not_chosen(inject: Inject) -> None:
    inject(fp32=0.1)
    assert fastest_precision(CPU, "training") == ("fp32", "precision auto: fp32, the only one that works on AMD EPYC")


@pytest.mark.parametrize(
    ("seconds", "chosen", "other"),
    [
        ({"fp32": 3.0, "bf16": 1.0, "fp16": 0.98}, "bf16", "fp32"),  # needs no loss scaling
        ({"fp32": 3.0, "bf16": 1.2, "fp16": 1.0}, "fp16", "fp32"),
        ({"fp32": 1.0, "bf16": 2.0, "fp16": 3.0}, "fp32", "bf16"),
    ],
)
def test_a_gpu_has_three_precisions(
    inject: Inject, monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], chosen: str, other: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100")
    inject(**seconds)
    precision, note = fastest_precision(torch.device("cuda"), "training")
    assert precision == chosen
    assert note.endswith(f" times as fast as {other} (measured on NVIDIA H100)")


def test_each_purpose_and_number_of_threads_is_measured_once(inject: Inject) -> None:
    measured = inject(fp32=0.2, bf16=0.1)
    for _ in range(2):
        fastest_precision(CPU, "training")
        fastest_precision(CPU, "inference")
    assert measured == ["training", "inference"]
    torch.set_num_threads(2)
    try:
        fastest_precision(CPU, "training")
    finally:
        torch.set_num_threads(1)
    assert measured == ["training", "inference", "training"]


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", "null", '"text"', "{%s: 3}", '{%s: {"fp32": "fast"}}', '{%s: {"bf16": 0.1}}']
)
def test_an_unreadable_cache_is_measured_again_and_replaced(inject: Inject, tmp_path: Path, damage: str) -> None:
    measured, cache = inject(fp32=0.2, bf16=0.1), tmp_path / "cache" / "precision.json"
    fastest_precision(CPU, "training")
    (key,) = json.loads(cache.read_text())
    cache.write_text(damage.replace("%s", json.dumps(key)))
    assert fastest_precision(CPU, "training")[0] == "bf16"
    assert measured == ["training"] * 2
    assert json.loads(cache.read_text()) == {key: {"fp32": 0.2, "bf16": 0.1}}


def test_without_a_cache_folder_it_is_measured_each_time(inject: Inject, tmp_path: Path) -> None:
    measured = inject(fp32=0.2, bf16=0.1)
    (tmp_path / "cache").touch()  # a file where the folder would be
    assert [fastest_precision(CPU, "training")[0] for _ in range(2)] == ["bf16"] * 2
    assert measured == ["training"] * 2


@pytest.mark.parametrize("purpose", ["training", "inference"])
def test_a_measurement_times_each_precision_and_leaves_random_numbers_alone(purpose: str) -> None:
    before = torch.get_rng_state()
    seconds = measure(CPU, purpose, ["fp32", "bf16"])  # type: ignore[arg-type]  # pytest passes str
    assert "fp32" in seconds and all(taken > 0 for taken in seconds.values())
    assert torch.equal(torch.get_rng_state(), before)
