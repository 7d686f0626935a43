"""Where and how to compute: the device, the precision, the memory layout."""

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

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # as in glibc's malloc.h
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Device:
    """A device and the type that matrix products and convolutions compute in; weights stay float32."""

    torch_device: torch.device
    dtype: torch.dtype

    @property
    def type(self) -> str:
        """`cpu`, `cuda` or `mps`."""
        return self.torch_device.type

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Goes around forward and loss, never around backward; does nothing in fp32."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.type, self.dtype)

    def place(self, model: nn.Module) -> nn.Module:
        """The model on the device, its convolutions in channels_last, which bf16 kernels want."""
        return model.to(self.torch_device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # torch's stub lacks it

    def send(self, tensor: Tensor) -> Tensor:
        """The tensor on the device, without waiting for the copy where that is CUDA and the host's memory is pinned."""
        # CUDA waits by itself where the memory is not pinned; MPS reads it later, when it may hold something else.
        return tensor.to(self.torch_device, non_blocking=self.type == "cuda")

    def images(self, faces: Tensor) -> Tensor:
        """Faces as they are, uint8 (B, S, S, 3), as a model takes them: float32 (B, 3, S, S) in [0, 1], on the device."""
        return self.send(faces).permute(0, 3, 1, 2).to(torch.float32).div_(255)

    def __str__(self) -> str:
        name = next(name for name, dtype in _DTYPES.items() if dtype == self.dtype)
        return f"{self.torch_device}, {name}"


def resolve_device(device: str, precision: str) -> Device:
    """Resolves `device` and `precision`, worded as in a config; raises DeviceError for what this machine does not have."""
    where = _pick_device(device)
    dtype = (torch.bfloat16 if _computes_in_bf16(where) else torch.float32) if precision == "auto" else _DTYPES[precision]
    if dtype == torch.float16 and where.type != "cuda":
        raise DeviceError(f"precision: fp16 needs a CUDA device, this is {where.type}", hint="use `precision: auto`")
    if where.type == "cuda":
        # Where fp32 is computed in on a GPU, TF32 keeps its range and is several times as fast; convolutions have it by
        # default. In low precision what is left in fp32 is there to be exact.
        torch.set_float32_matmul_precision("high" if dtype == torch.float32 else "highest")
    if where.type == "cpu":
        _keep_freed_memory()
    return Device(where, dtype)


def resolve_inference_device(device: str, precision: str | None, trained_precision: str) -> Device:
    """Resolves `device` and `precision`; None stands for the precision of training, or `auto` where the device lacks it.

    Raises DeviceError as `resolve_device` does.
    """
    if precision is None and trained_precision != "bf16":  # which `auto` takes where it is no emulation
        with contextlib.suppress(DeviceError):
            return resolve_device(device, trained_precision)
    return resolve_device(device, precision or "auto")


def _keep_freed_memory() -> None:
    """Has glibc's allocator keep what a step frees for the next one.

    By default it gives large blocks back to the system, and every step gets its activations as fresh pages, each of which
    has to be cleared first: some 5 % of a step of ResNet18. Does nothing where the allocator is another one.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, value in ((_M_MMAP_THRESHOLD, 32 << 20), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 << 20)):
            mallopt(parameter, value)


def _pick_device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    named = re.fullmatch(r"cpu|mps|cuda(?::(\d+))?", name)
    if named is None:
        raise DeviceError(f"device: `{name}` is not a device", hint="the devices are auto, cpu, cuda, cuda:N and mps")
    if name.startswith("cuda"):
        count = torch.cuda.device_count()
        if count == 0:
            raise DeviceError(f"device: `{name}`: torch sees no CUDA device here", hint="use `device: auto` or `device: cpu`")
        if int(named[1] or 0) >= count:
            raise DeviceError(f"device: `{name}`: there are {count}, counted from cuda:0", hint=f"the last is cuda:{count - 1}")
        return torch.device("cuda", int(named[1])) if named[1] else torch.device("cuda")
    if name == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device: `mps`: torch sees no Apple GPU here", hint="use `device: auto` or `device: cpu`")
    return torch.device(name)


def _computes_in_bf16(device: torch.device) -> bool:
    """Whether the processor has bf16 arithmetic, not only torch an emulation of it, which is slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))
    return False


def available_cores() -> int:
    """The number of CPU cores that this process may use."""
    process = psutil.Process()
    return len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else psutil.cpu_count() or 1


def require_torchvision() -> ModuleType:
    """torchvision; raises InstallError where it is missing or was built for another torch."""
    try:
        import torchvision
    except (ImportError, OSError, RuntimeError) as error:
        raise InstallError(
            f"torchvision does not fit torch {torch.__version__}: {str(error).splitlines()[0]}",
            hint="both must come from one build: `pip install --force-reinstall torch torchvision`",
        ) from error
    assert isinstance(torchvision, ModuleType)
    return torchvision
