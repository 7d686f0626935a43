"""Devices and precisions that are asked for, and those that are not there."""

import pytest
import torch

from facecls.compute import Compute, pick_compute
from facecls.errors import DeviceError


def test_auto_on_a_processor_takes_bf16_only_where_it_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert pick_compute("cpu", "auto").dtype == torch.float32
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert pick_compute("cpu", "auto").dtype == torch.bfloat16
    assert str(pick_compute("cpu", "bf16")) == "cpu, bf16"


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what is said where there is no CUDA device")
def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(DeviceError) as raised:
        pick_compute("cuda", "auto")
    assert str(raised.value) == "device: `cuda`: torch sees no CUDA device here"
    assert raised.value.hint == "use `device: auto` or `device: cpu`"


def test_fp16_needs_a_gpu() -> None:
    with pytest.raises(DeviceError, match="precision: fp16 needs a CUDA device, this is cpu"):
        pick_compute("cpu", "fp16")


def test_faces_become_images_in_0_to_1() -> None:
    faces = torch.arange(2 * 4 * 4 * 3, dtype=torch.uint8).view(2, 4, 4, 3)
    images = Compute(torch.device("cpu"), torch.float32).images(faces)
    assert images.shape == (2, 3, 4, 4)
    assert images[1, 2, 3, 0] == faces[1, 3, 0, 2] / 255
