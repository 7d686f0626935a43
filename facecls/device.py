"""The device: its precision, memory format and copies to it."""

import contextlib
import ctypes
import re
import sys
from dataclasses import dataclass
from types import ModuleType

import psutil
import torch
from torch import Tensor, nn

from facecls.errors import DeviceError, InstallError
from facecls.text import plural

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # as in glibc's malloc.h
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Device:
    """A torch device and the dtype of matrix products and convolutions; weights stay float32."""

    torch_device: torch.device
    dtype: torch.dtype

    @property
    def type(self) -> str:
        """`cpu`, `cuda` or `mps`."""
        return self.torch_device.type

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The autocast context for forward and loss, not for backward; a null context in fp32."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.type, self.dtype)

    def place(self, model: nn.Module) -> nn.Module:
        """Moves the model to the device, in channels_last, with which bf16 convolutions are fastest."""
        return model.to(self.torch_device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # torch's stub lacks it

    def send(self, tensor: Tensor) -> Tensor:
        """The tensor on the device; from pinned memory to CUDA the copy is asynchronous."""
        # CUDA copies synchronously from memory that is not pinned; MPS would read it later, when it may have been overwritten.
        return tensor.to(self.torch_device, non_blocking=self.type == "cuda")

    def images(self, faces: Tensor) -> Tensor:
        """Model input from uint8 faces (B, S, S, 3): float32 (B, 3, S, S) in [0, 1], on the device."""
        return self.send(faces).permute(0, 3, 1, 2).to(torch.float32).div_(255)

    def __str__(self) -> str:
        name = next(name for name, dtype in _DTYPES.items() if dtype == self.dtype)
        return f"{self.torch_device}, {name}"


def resolve_device(device: str, precision: str) -> Device:
    """The Device of a config's `device` and `precision`; raises DeviceError if this machine does not support them."""
    torch_device = _torch_device(device)
    if precision == "auto":
        precision = "bf16" if _computes_in_bf16(torch_device) else "fp32"
    dtype = _DTYPES[precision]
    if dtype == torch.float16 and torch_device.type != "cuda":
        raise DeviceError(f"precision: fp16 needs a CUDA device, not {torch_device.type}", hint="use `precision: auto`")
    if torch_device.type == "cuda":
        # TF32 has fp32's range and is several times as fast; torch uses it for convolutions by default. Under bf16 and fp16
        # the few products that remain in fp32 need its full precision.
        torch.set_float32_matmul_precision("high" if dtype == torch.float32 else "highest")
    if torch_device.type == "cpu":
        _keep_freed_memory()
    return Device(torch_device, dtype)


def resolve_inference_device(device: str, precision: str | None, trained_precision: str) -> Device:
    """The Device of `device` and `precision`; None: the precision of training, or `auto` if the device does not support that.

    Raises DeviceError as `resolve_device` does.
    """
    if precision is None and trained_precision != "bf16":  # `auto` is bf16 if the device supports it
        with contextlib.suppress(DeviceError):
            return resolve_device(device, trained_precision)
    return resolve_device(device, precision or "auto")


def _keep_freed_memory() -> None:
    """Makes glibc's malloc keep the memory that a training step frees; no-op with other allocators.

    By default malloc returns large blocks to the system, and each step gets its activations as new pages that the kernel
    zeroes first: about 5 % of a step of ResNet18.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, value in ((_M_MMAP_THRESHOLD, 32 << 20), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 << 20)):
            mallopt(parameter, value)


def _torch_device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    match = re.fullmatch(r"cpu|mps|cuda(?::(\d+))?", name)
    if match is None:
        raise DeviceError(f"device: `{name}` is not a device", hint="use auto, cpu, cuda, cuda:N or mps")
    if name.startswith("cuda"):
        count = torch.cuda.device_count()
        if count == 0:
            raise DeviceError(f"device: `{name}`: torch finds no CUDA device", hint="use `device: auto` or `device: cpu`")
        if int(match[1] or 0) >= count:
            problem = f"device: `{name}`: this machine has {plural(count, 'CUDA device')}"
            raise DeviceError(problem, hint=f"the last is cuda:{count - 1}")
        return torch.device("cuda", int(match[1])) if match[1] else torch.device("cuda")
    if name == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device: `mps`: torch finds no Apple GPU", hint="use `device: auto` or `device: cpu`")
    return torch.device(name)


def _computes_in_bf16(device: torch.device) -> bool:
    """Whether the device has bf16 instructions; torch's emulation of them is slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        features = torch.cpu.get_capabilities()
        return bool(features.get("avx512_bf16") or features.get("amx_bf16") or features.get("bf16"))
    return False


def available_cores() -> int:
    """The number of CPU cores that this process may use."""
    process = psutil.Process()
    return len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else psutil.cpu_count() or 1


def require_torchvision() -> ModuleType:
    """Imports torchvision; raises InstallError if it is missing or was built for another torch."""
    try:
        import torchvision
    except (ImportError, OSError, RuntimeError) as error:
        raise InstallError(
            f"torchvision is incompatible with torch {torch.__version__}: {str(error).splitlines()[0]}",
            hint="install both from one release: `pip install --force-reinstall torch torchvision`",
        ) from error
    assert isinstance(torchvision, ModuleType)
    return torchvision
