"""`precision: auto`: the fastest precision of a device, measured once and cached."""

import contextlib
import functools
import json
import time
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from facecls.errors import RunError
from facecls.files import cache_folder, write_atomic
from facecls.processor import processor
from facecls.text import plural

Purpose: TypeAlias = Literal["training", "inference"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}  # in order of preference
_MARGIN = 1.05  # a precision is preferred to a less exact one that is not faster by more than this
_HOPELESS = 4.0  # a precision that takes so many times the time of the fastest for the first images is not measured further
_ROUNDS, _SECONDS = 7, 0.4  # of timed steps, at most; one round at least


def fastest_precision(device: torch.device, purpose: Purpose) -> tuple[str, str]:
    """The fastest of the device's precisions, and a line for the user that says so; an empty line if there is only one.

    Measured in under a second for each processor, torch version, number of threads and purpose, and then read from the
    user's cache directory.
    """
    candidates = _candidates(device, purpose)
    if len(candidates) == 1:
        return candidates[0], ""
    cpu = device.type == "cpu"
    name = processor() if cpu else torch.cuda.get_device_name(device)
    threads = plural(torch.get_num_threads(), "thread")
    # A virtual machine may hide the model of its CPU, but not its instructions.
    instructions = sorted(name for name, value in torch.cpu.get_capabilities().items() if value is True) if cpu else []
    key = ", ".join([name, *instructions, f"torch {torch.__version__}", threads, device.type, purpose])
    seconds = _cached(key, candidates, lambda: measure(device, purpose, candidates))
    best = min(seconds.values())
    chosen = next(each for each in candidates if each in seconds and seconds[each] <= best * _MARGIN)
    others = {each: taken for each, taken in seconds.items() if each != chosen}
    if not others:
        return chosen, f"precision auto: {chosen}, the only one that works on {name}"
    other = "fp32" if "fp32" in others else min(others, key=lambda each: others[each])
    ratio = others[other] / seconds[chosen]
    faster = "about as fast as" if ratio < _MARGIN else f"{ratio:.1f} times as fast as"
    return chosen, f"precision auto: {chosen}, {faster} {other} (measured on {name}{f', {threads}' if cpu else ''})"


def _candidates(device: torch.device, purpose: Purpose) -> list[str]:
    if device.type == "cuda":
        bf16 = ["bf16"] if torch.cuda.is_bf16_supported(including_emulation=False) else []
        return ["fp32", *bf16, *(["fp16"] if purpose == "training" or not bf16 else [])]
    return ["fp32", "bf16"] if device.type == "cpu" else ["fp32"]


def _cached(key: str, candidates: list[str], measured: Callable[[], dict[str, float]]) -> dict[str, float]:
    """The cached seconds under `key`, or else those measured now."""
    path = cache_folder() / "precision.json"
    cache: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        read = json.loads(path.read_text(encoding="utf-8"))
        cache = read if isinstance(read, dict) else {}
    found = cache.get(key)
    if (
        isinstance(found, dict)
        and "fp32" in found
        and all(name in candidates and isinstance(taken, float) and taken > 0 for name, taken in found.items())
    ):
        return found
    seconds = measured()
    with contextlib.suppress(OSError, RunError):  # without a cache it is measured again
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(cache | {key: seconds}, indent=2).encode())
    return seconds


def measure(device: torch.device, purpose: Purpose, candidates: list[str]) -> dict[str, float]:
    """The shortest seconds of a step in each precision that works and is not hopelessly slow; fp32 always works.

    A step is a residual block of ResNet18 and a strided convolution, for training also backwards. They take turns, and
    the shortest of several times counts, as other load on the machine only lengthens them.
    """
    images = 8 if device.type == "cpu" else 256  # a GPU needs more to be busy
    steps, first = {}, {}
    for name in candidates:
        try:
            steps[name] = _step(device, DTYPES[name], purpose)
            first[name] = _timed(steps[name], images // 4, device)  # prepares the kernels
            if first[name] < _SECONDS / 2:
                first[name] = _timed(steps[name], images // 4, device)
        except RuntimeError:
            if name == "fp32":
                raise
    names = [name for name in first if name == "fp32" or first[name] < _HOPELESS * min(first.values())]
    times: dict[str, list[float]] = {name: [] for name in names}
    start = time.perf_counter()
    for number in range(_ROUNDS):
        if number > 0 and time.perf_counter() - start > _SECONDS:
            break
        for name in names:
            times[name].append(_timed(steps[name], images, device))
    # Of those left out the first images give the ratio to fp32.
    scale = min(times["fp32"]) / first["fp32"]
    return {name: min(times[name]) if name in times else first[name] * scale for name in first}


def _timed(step: Callable[[int], None], images: int, device: torch.device) -> float:
    start = time.perf_counter()
    step(images)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _step(device: torch.device, dtype: torch.dtype, purpose: Purpose) -> Callable[[int], None]:
    """A function that runs a step on the given number of images, at most 256."""
    draws = torch.Generator().manual_seed(0)  # the global generator stays as it is

    def uniform(*shape: int) -> Tensor:
        return (torch.rand(shape, generator=draws) - 0.5).to(device, memory_format=torch.channels_last)

    maps = uniform(8 if device.type == "cpu" else 256, 64, 28, 28)
    weights = [uniform(outputs, 64, 3, 3) / 10 for outputs in (64, 64, 128)]
    autocast = torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
    if purpose == "training":
        variables = [maps.requires_grad_(), *(weight.requires_grad_() for weight in weights)]

        def train(images: int) -> None:
            with torch.enable_grad():
                with autocast:
                    outputs = _block(
                        maps[:images], weights, lambda each: functional.batch_norm(each, None, None, training=True)
                    )
                    loss = outputs.float().square().mean()
                torch.autograd.grad(loss, variables)

        return train
    if device.type == "cpu" and has_onednn_kernels(dtype):  # as facecls.models.mkldnn does
        folded = [weight.contiguous().to_mkldnn(dtype) for weight in weights]

        def infer_folded(images: int) -> None:
            with torch.inference_mode():
                _block(maps[:images].contiguous().to_mkldnn(dtype), folded, lambda each: each).to_dense()

        return infer_folded
    ones = {channels: torch.ones(channels, device=device) for channels in (64, 128)}

    def norm(each: Tensor) -> Tensor:
        statistic = ones[each.shape[1]]
        return functional.batch_norm(each, statistic, statistic)

    def infer(images: int) -> None:
        with torch.inference_mode(), autocast:
            _block(maps[:images], weights, norm)

    return infer


def _block(maps: Tensor, weights: list[Tensor], norm: Callable[[Tensor], Tensor]) -> Tensor:
    """(B, 64, S, S) to (B, 128, S / 2, S / 2)."""
    inner = functional.relu(norm(functional.conv2d(maps, weights[0], padding=1)))
    outer = functional.relu(norm(functional.conv2d(inner, weights[1], padding=1)) + maps)
    return norm(functional.conv2d(outer, weights[2], stride=2, padding=1))


@functools.cache
def has_onednn_kernels(dtype: torch.dtype) -> bool:
    """Whether oneDNN has convolutions of `dtype` in its own layout for this CPU; tried once per process.

    The CPU's flags do not answer this: oneDNN may not use an instruction set, by its version or `ONEDNN_MAX_CPU_ISA`.
    """
    try:
        maps, weight = (torch.zeros(shape).to_mkldnn(dtype) for shape in ((1, 16, 8, 8), (16, 16, 3, 3)))
        with torch.inference_mode():
            functional.conv2d(maps, weight)
    except RuntimeError:
        return False
    return True
