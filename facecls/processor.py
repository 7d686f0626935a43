"""What the operating system says about the processor: its name, and how much of it this process may use."""

import math
import platform
import re
from pathlib import Path


def processor() -> str:
    """The name of the processor, as reported by the operating system."""
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*:\s*(.+)", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    return named[1] if named else platform.processor() or platform.machine()


def cpu_quota(root: Path = Path("/")) -> int | None:
    """The CPU quota of this process's control group (cgroup v2 `cpu.max`) in cores, rounded up; None: unlimited.

    A group is also limited by those above it. `root` is the file system's root.
    """
    try:
        unified = re.search(r"^0::/(.*)", (root / "proc/self/cgroup").read_text(), re.MULTILINE)
    except OSError:
        return None
    top = root / "sys/fs/cgroup"
    group = top / (unified[1] if unified else "")
    quotas = []
    for folder in (group, *group.parents):
        try:
            quota, period = (folder / "cpu.max").read_text().split()
            quotas.append(math.ceil(int(quota) / int(period)))
        except (OSError, ValueError):  # no such file, or `max`
            pass
        if folder == top:
            break
    return max(1, min(quotas)) if quotas else None
