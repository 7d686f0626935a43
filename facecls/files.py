"""Atomic writes, locks, checks of output paths, the state of files, and the cache directory."""

import contextlib
import errno
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import filelock
from platformdirs import user_cache_path

from facecls.errors import RunError

FileState = tuple[int, int]  # size in bytes, modification time in ns

_FULL = (errno.ENOSPC, errno.EDQUOT)
_HINTS = {
    **dict.fromkeys(_FULL, "free some disk space"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "check the write permission"),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR), "create its folder first, or choose another path"),
}


def write_atomic(path: Path, content: bytes | memoryview, temporary: Path | None = None) -> None:
    """Writes `content` to `path` through `atomic_file`; raises RunError before writing if the disk has too little space."""
    if free_disk(path.parent) < len(content):
        raise write_error(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    with atomic_file(path, temporary) as file:
        file.write(content)


@contextlib.contextmanager
def atomic_file(path: Path, temporary: Path | None = None) -> Iterator[BinaryIO]:
    """A temporary file, synced and renamed to `path` when the block ends, removed if it raises.

    Readers see the old file or the complete new one. `temporary` is on the same disk, by default in the same folder. Raises
    RunError if the file cannot be written.
    """
    temporary = temporary or path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise write_error(path, error) from error
        raise


def write_error(path: Path, error: OSError) -> RunError:
    """The RunError for a file that cannot be written."""
    raised = RunError(f"{path}: cannot be written: {error.strerror}", hint=_HINTS.get(error.errno or 0, ""))
    raised.__cause__ = error
    return raised


def is_disk_full(error: BaseException) -> bool:
    """Whether a `write_error` says that the disk or the user's quota is full."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _FULL


def free_disk(folder: Path) -> float:
    """Free bytes on the disk of a folder that may not exist yet; infinite if its file system does not tell its size."""
    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    usage = shutil.disk_usage(existing)
    return float(usage.free) if usage.total else math.inf


def lock_folder(folder: Path, in_use: str, option: str) -> filelock.BaseFileLock:
    """Locks a folder by its file `.lock` until the lock is released or this process ends.

    Raises RunError if another process holds it, which does `in_use`, or if it cannot be locked; `option` is where the user
    names the folder.
    """
    lock = filelock.FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise RunError(f"{folder}: another process {in_use} this directory", hint=f"name another {option}") from None
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or "its file system has no locks"
        raise RunError(
            f"{folder}: cannot be locked: {reason}",
            hint=f"some network file systems have no locks: name a directory on another disk {option}",
        ) from error
    return lock


def prepare_output(path: Path, kind: str, signature: bytes) -> None:
    """Creates the parent folder of an output file and checks that nothing else would be overwritten.

    Call it before the work whose result goes into the file. An existing file may be overwritten if it begins with
    `signature`, or is a prefix of it, such as an empty file. Raises RunError if another file would be overwritten or the
    folder cannot be created; `kind` names the file type in the message, as in `an HTML page`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{path.parent}: cannot be created: {error.strerror}", hint="choose a file in another folder") from error
    try:
        if path.is_dir():
            raise RunError(f"{path}: is a folder", hint="name a file in it")
        if path.exists() and not (path.is_file() and signature.startswith(_start(path, len(signature)))):
            raise RunError(f"{path}: already exists and is not {kind}", hint="choose another file name")
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}", hint="choose a file in another folder") from error


def _start(path: Path, length: int) -> bytes:
    with path.open("rb") as file:
        return file.read(length)


def cache_folder(override: Path | None = None) -> Path:
    """`override`, or the `facecls` directory in the user's cache directory; it may not exist yet."""
    return override or user_cache_path("facecls", appauthor=False)


def file_state(path: str | bytes) -> FileState:
    """The state of a file, by which a change is noticed; (-1, -1) if it is missing."""
    try:
        status = os.stat(path)  # noqa: PTH116 -- a Path is slow for millions of names
    except (OSError, ValueError):
        return -1, -1
    return status.st_size, status.st_mtime_ns
