"""Which store a part's faces go into: by their size, and by the room that this machine has."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from facecls.errors import DataError
from facecls.files import cache_folder

Kind = Literal["memory", "disk", "device", "stream"]

# The shares of what is free that faces may take: the rest is for what training itself needs.
_OF_MEMORY = 0.5
_OF_DEVICE = 0.25
_OF_DISK = 0.8


@dataclass(frozen=True)
class AvailableMemory:
    """Bytes that are free now."""

    memory: float
    disk: float
    device: float = 0.0  # of a GPU with memory of its own


def measure_available(cache_dir: Path | None, device: torch.device) -> AvailableMemory:
    """What this machine has free; a disk that cannot be written to has nothing."""
    on_device = float(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else 0.0
    sharing = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # processes that torchrun has started here, each with its faces
    return AvailableMemory(free_memory() / sharing, _free_disk(cache_folder(cache_dir)), on_device)


def choose_store(needed: float, available: AvailableMemory) -> tuple[Kind, str]:
    """The fastest store that `needed` bytes of faces fit into, and why it is that one, for the user."""
    choices: list[tuple[Kind, str, float, float]] = [
        ("device", "on the GPU", available.device, _OF_DEVICE),
        ("memory", "in memory", available.memory, _OF_MEMORY),
        ("disk", "on the disk of the cache", available.disk, _OF_DISK),
    ]
    why = [f"{_size(needed)} of faces"]
    for kind, place, free, share in choices[0 if available.device else 1 :]:
        if needed <= share * free:
            return kind, ", ".join([*why, f"{_size(free)} are free {place}"])
        why.append(f"more than {share:.0%} of the {_size(free)} that are free {place}")
    return "stream", ", ".join(why)


def refuse_too_large(kind: Kind, needed: float, available: AvailableMemory) -> None:
    """Raises DataError where faces that are to be kept in a memory do not fit into it; the disk sees to that itself."""
    free, place = (available.device, "on the GPU") if kind == "device" and available.device else (available.memory, "in memory")
    if kind in ("memory", "device") and needed > free:
        raise DataError(
            f"data.store: `{kind}`: {_size(needed)} of faces, and {_size(free)} are free {place}",
            hint="`data.store: auto` picks a store with room enough",
        )


def free_memory() -> float:
    """Bytes that can be had without pushing anything else out, also within the limit of a container."""
    free = [_linux_available(), _container_available()]
    known = [number for number in free if number is not None]
    if known:
        return min(known)
    try:
        return 0.5 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # macOS says only what there is in all
    except (AttributeError, ValueError, OSError):
        return 4e9  # Windows says it to nobody who speaks only Python


def _linux_available() -> float | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return 1024.0 * int(line.split()[1])
    return None


def _container_available(folder: Path = Path("/sys/fs/cgroup")) -> float | None:
    """What is left of the limit of control group version 2; files read from disk count as used there, but give way."""
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(0.0, float(int(limit) - used + int(counts.get("inactive_file", 0))))


def _free_disk(folder: Path) -> float:
    there = next((above for above in (folder, *folder.parents) if above.exists()), None)
    if there is None or not there.is_dir() or not os.access(there, os.W_OK):
        return 0.0
    return float(shutil.disk_usage(there).free)


def _size(number: float) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"
