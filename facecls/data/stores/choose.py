"""Chooses the store of a split by the size of its images and the available memory."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
import torch

from facecls.errors import DataError
from facecls.files import cache_folder, free_disk
from facecls.text import byte_size

StoreKind = Literal["memory", "disk", "device", "stream"]

# Shares of the free bytes that images may take; training needs the rest.
_OF_MEMORY = 0.5
_OF_DEVICE = 0.25
_OF_DISK = 0.8


@dataclass(frozen=True)
class AvailableMemory:
    """Free bytes."""

    memory: float  # per process
    disk: float  # of the cache folder
    device: float = 0.0  # of a CUDA device


def measure_available(cache_dir: Path | None, device: torch.device) -> AvailableMemory:
    """Measures the free bytes; 0 for a disk that cannot be written to."""
    on_device = float(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else 0.0
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # started by torchrun on this machine, each with its own images
    return AvailableMemory(available_memory() / processes, _free_disk(cache_folder(cache_dir)), on_device)


def choose_store(needed: float, available: AvailableMemory) -> tuple[StoreKind, str]:
    """The fastest store for `needed` bytes of images, and the reason as a text for the user."""
    choices: list[tuple[StoreKind, str, float, float]] = [
        ("device", "GPU memory", available.device, _OF_DEVICE),
        ("memory", "memory", available.memory, _OF_MEMORY),
        ("disk", "cache disk", available.disk, _OF_DISK),
    ]
    reasons = [f"images take {byte_size(needed)}"]
    for kind, place, free, share in choices[0 if available.device else 1 :]:
        if needed <= share * free:
            return kind, "; ".join([*reasons, f"{place}: {byte_size(free)} free"])
        reasons.append(f"{place}: {byte_size(free)} free, at most {share:.0%} of it is used")
    return "stream", "; ".join(reasons)


def require_space(kind: StoreKind, needed: float, available: AvailableMemory) -> None:
    """Raises DataError if `needed` bytes exceed the memory of a memory or device store; the disk store checks its own."""
    on_device = kind == "device" and available.device > 0
    free, place = (available.device, "GPU memory") if on_device else (available.memory, "memory")
    if kind in ("memory", "device") and needed > free:
        raise DataError(
            f"data.store: `{kind}`: images take {byte_size(needed)}, but only {byte_size(free)} of {place} are free",
            hint="`data.store: auto` chooses a store that is large enough",
        )


def available_memory() -> float:
    """Bytes that can be allocated without swapping, within the memory limit of a container."""
    available = float(psutil.virtual_memory().available)
    limit = _container_available()
    return available if limit is None else min(available, limit)


def _container_available(folder: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Bytes left below the memory limit of cgroup v2; None without one.

    The page cache of inactive files counts as used there, but is reclaimed when memory is needed.
    """
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(0.0, float(int(limit) - used + int(counts.get("inactive_file", 0))))


def _free_disk(folder: Path) -> float:
    existing = next((each for each in (folder, *folder.parents) if each.exists()), None)
    if existing is None or not existing.is_dir() or not os.access(existing, os.W_OK):
        return 0.0
    return free_disk(existing)
