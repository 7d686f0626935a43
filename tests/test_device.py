"""Devices and precisions: resolving them, and the errors for those that this machine lacks."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from facecls.device import Device, available_cores, configure_process, limit_threads, resolve_device
from facecls.errors import DeviceError
from tests.conftest import Result


def test_an_explicit_precision_is_obeyed_without_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("facecls.device.fastest_precision")
    assert str(resolve_device("cpu", "bf16")) == "cpu, bf16"
    assert resolve_device("cpu", "fp32").note == ""


def test_the_available_cores_are_those_of_the_affinity_and_the_quota_divided_by_local_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("psutil.Process.cpu_affinity", lambda _: list(range(12)), raising=False)
    for quota, local_processes, cores in ((None, None, 12), (5, None, 5), (64, "1", 12), (5, "2", 2), (None, "99", 1)):
        monkeypatch.setattr("facecls.device.cpu_quota", lambda quota=quota: quota)
        monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
        if local_processes:
            monkeypatch.setenv("LOCAL_WORLD_SIZE", local_processes)
        assert available_cores() == cores


@pytest.mark.parametrize(
    ("threads", "omp", "before", "after"),
    [(None, None, 8, 3), (None, None, 2, 2), (None, "8", 8, 8), (5, None, 8, 5), (5, "8", 8, 5)],
)
def test_threads_are_those_of_the_config_or_at_most_the_available_cores(
    monkeypatch: pytest.MonkeyPatch, threads: int | None, omp: str | None, before: int, after: int
) -> None:
    monkeypatch.setattr("facecls.device.available_cores", lambda: 3)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if omp:
        monkeypatch.setenv("OMP_NUM_THREADS", omp)
    count = [before]
    monkeypatch.setattr(torch, "get_num_threads", lambda: count[-1])
    monkeypatch.setattr(torch, "set_num_threads", count.append)
    limit_threads(threads)
    assert count[-1] == after


@pytest.mark.skipif(torch.cuda.is_available(), reason="tests the error without a CUDA device")
def test_a_missing_device_is_an_error() -> None:
    with pytest.raises(DeviceError) as raised:
        resolve_device("cuda", "auto")
    assert str(raised.value) == "device: `cuda`: torch finds no CUDA device"
    assert raised.value.hint == "use `device: auto` or `device: cpu`"


def test_fp16_needs_a_gpu() -> None:
    with pytest.raises(DeviceError, match="precision: fp16 needs a CUDA device, not cpu") as raised:
        resolve_device("cpu", "fp16")
    assert raised.value.hint == "use `precision: auto`; a resumed run keeps its own"


def test_a_process_of_the_command_line_has_its_own_threads_allocator_and_warning_filters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[object] = []
    for name in ("_keep_freed_memory", "ignore_image_warnings"):
        monkeypatch.setattr(f"facecls.device.{name}", partial(calls.append, name))
    monkeypatch.setattr("facecls.device.limit_threads", calls.append)
    configure_process(3)
    assert calls == [3, "_keep_freed_memory", "ignore_image_warnings"]


def test_uint8_faces_become_float_images_in_0_to_1() -> None:
    faces = torch.arange(2 * 4 * 4 * 3, dtype=torch.uint8).view(2, 4, 4, 3)
    images = Device(torch.device("cpu"), torch.float32).images(faces)
    assert images.shape == (2, 3, 4, 4)
    assert images[1, 2, 3, 0] == faces[1, 3, 0, 2] / 255


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cpu:0", "cuda:-1"])
def test_an_unknown_device_is_an_error_that_lists_the_devices(name: str) -> None:
    with pytest.raises(DeviceError) as raised:
        resolve_device(name, "auto")
    assert str(raised.value) == f"device: `{name}` is not a device"
    assert raised.value.hint == "use auto, cpu, cuda, cuda:N or mps"


def test_a_cuda_index_out_of_range_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1", "bf16").torch_device == torch.device("cuda:1")
    for number in (2, 99999999999):  # more than fits into torch.device
        with pytest.raises(DeviceError) as raised:
            resolve_device(f"cuda:{number}", "bf16")
        assert str(raised.value) == f"device: `cuda:{number}`: this machine has 2 CUDA devices"
        assert raised.value.hint == "the last is cuda:1"


def test_tf32_is_used_in_fp32_on_cuda_only_and_only_for_forward_and_loss() -> None:
    before = torch.get_float32_matmul_precision()
    for device, precision in (("cuda", "high"), ("cpu", before)):
        with Device(torch.device(device), torch.float32).autocast():
            assert torch.get_float32_matmul_precision() == precision
        assert torch.get_float32_matmul_precision() == before == "highest"


@pytest.mark.parametrize(("device", "non_blocking"), [("cpu", False), ("mps", False), ("cuda", True)])
def test_only_copies_to_cuda_are_asynchronous(monkeypatch: pytest.MonkeyPatch, device: str, non_blocking: bool) -> None:
    copies: list[bool] = []

    def to(tensor: torch.Tensor, _device: torch.device, **options: Any) -> torch.Tensor:
        copies.append(options.get("non_blocking", False))
        return tensor

    monkeypatch.setattr(torch.Tensor, "to", to)
    Device(torch.device(device), torch.float32).send(torch.zeros(1))
    assert copies == [non_blocking]


@pytest.mark.parametrize("command", ["train", "cross-validate", "check", "eval", "report", "predict"])
def test_each_command_that_computes_limits_its_threads(
    facecls: Callable[..., Result], tiny: Callable[..., Path], trained: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def stop(threads: int | None) -> None:
        raise DeviceError(f"{threads} threads")

    monkeypatch.setattr("facecls.device.limit_threads", stop)
    if command in ("eval", "report", "predict"):
        arguments = [trained] if command != "predict" else [trained, "--checkpoint", trained]
        assert facecls(command, *arguments).err == "error: None threads\n"
    else:
        assert facecls(command, tiny(threads=3)).err == "error: 3 threads\n"
