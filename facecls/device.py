"""The device: its precision, memory format and copies to it."""

import contextlib
import ctypes
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType

import psutil
import torch
from torch import Tensor, nn

from facecls.errors import DeviceError, InstallError
from facecls.precision import DTYPES, Purpose, fastest_precision
from facecls.processor import cpu_quota
from facecls.text import plural
from facecls.warning_filters import ignore_image_warnings

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # as in glibc's malloc.h


@dataclass(frozen=True)
class Device:
    """A torch device and the dtype of matrix products and convolutions; weights stay float32."""

    torch_device: torch.device
    dtype: torch.dtype
    note: str = field(default="", compare=False)  # for the user: how `precision: auto` was resolved

    @property
    def type(self) -> str:
        """`cpu`, `cuda` or `mps`."""
        return self.torch_device.type

    @property
    def precision(self) -> str:
        """`fp32`, `bf16` or `fp16`, as in a config."""
        return next(name for name, dtype in DTYPES.items() if dtype == self.dtype)

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The autocast context for forward and loss, not for backward; in fp32 one that allows TF32 on CUDA."""
        if self.dtype == torch.float32:
            return _tf32() if self.type == "cuda" else contextlib.nullcontext()
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
        return f"{self.torch_device}, {self.precision}"


def resolve_device(device: str, precision: str, purpose: Purpose = "training") -> Device:
    """The Device of a config's `device` and `precision`; raises DeviceError if this machine does not support them.

    `auto` takes the precision in which the device is fastest for the purpose, see `fastest_precision`.
    """
    torch_device, note = _torch_device(device), ""
    if precision == "auto":
        precision, note = fastest_precision(torch_device, purpose)
    dtype = DTYPES[precision]
    if dtype == torch.float16 and torch_device.type != "cuda":
        raise DeviceError(
            f"precision: fp16 needs a CUDA device, not {torch_device.type}",
            hint="use `precision: auto`; a resumed run keeps its own",
        )
    return Device(torch_device, dtype, note)


def resolve_inference_device(device: str, precision: str | None, trained_precision: str) -> Device:
    """The Device of `device` and `precision` for eval and predict; raises DeviceError as `resolve_device` does.

    None: the precision of training. If that was bf16, or is not supported by the device, `auto`: the fastest for inference.
    """
    if precision is None and trained_precision != "bf16":
        with contextlib.suppress(DeviceError):
            return resolve_device(device, trained_precision, "inference")
    return resolve_device(device, precision or "auto", "inference")


@contextlib.contextmanager
def _tf32() -> Iterator[None]:
    """TF32 matrix products: fp32's range, several times as fast; torch uses TF32 for convolutions by default."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def configure_process(threads: int | None) -> None:
    """Sets what belongs to the process, for one that facecls runs alone: threads of torch and OpenCV, malloc, warning filters.

    The Python API does not call it. `threads` is that of `limit_threads`. It must come before OpenCV is first used, which gets
    one thread, as several images are searched for faces at a time.
    """
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
    limit_threads(threads)
    _keep_freed_memory()
    ignore_image_warnings()


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


def available_cores() -> int:
    """The number of CPU cores for this process: by its affinity and CPU quota, divided by torchrun's processes per machine."""
    process = psutil.Process()
    cores = len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else psutil.cpu_count() or 1
    local_processes = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(1, min(cores, cpu_quota() or cores) // max(1, int(local_processes)))


def limit_threads(threads: int | None) -> None:
    """Sets torch's number of threads to `threads`; None: to the available cores, if it is larger and not OMP_NUM_THREADS.

    With more threads than cores a step can take ten times as long.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    elif "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > available_cores():
        torch.set_num_threads(available_cores())


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
