"""Caches of what is computed from image files: SQLite databases in the user's cache folder. They are optional."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from facecls.device import available_cores
from facecls.errors import ImageError
from facecls.files import FileState, cache_folder, file_state
from facecls.prefetch import map_in_threads

_CHUNK = 8  # images per task of the thread pool
_SAVE_SECONDS = 2.0  # between writes: the work that a killed process loses
_EXPIRY_DAYS = 180  # after which an unused record is deleted
_PATHS_PER_QUERY = 500  # the limit of older SQLite versions is 999 parameters


class RecordCache:
    """Binary records of one `version` by path and file state; records of other versions are deleted.

    Safe for concurrent processes. As every record can be computed again, a damaged database is replaced, and after any
    other database error (no permission, full disk) the run continues without the cache.
    """

    def __init__(self, folder: Path | None, name: str, version: str) -> None:
        self.path = cache_folder(folder) / f"{name}.sqlite"
        self.version = version
        self._database: sqlite3.Connection | None = None

    def __enter__(self) -> "RecordCache":
        with contextlib.suppress(OSError, sqlite3.Error):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._database = self._open()
            except sqlite3.OperationalError:  # locked or not writable, but not damaged
                raise
            except sqlite3.DatabaseError:
                self.path.unlink()
                self._database = self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        try:
            database.execute("PRAGMA synchronous = OFF")  # records lost in a power failure can be computed again
            database.execute(
                "CREATE TABLE IF NOT EXISTS records "
                "(path BLOB PRIMARY KEY, version TEXT, size INTEGER, modified INTEGER, used INTEGER, record BLOB) "
                "WITHOUT ROWID"
            )
            database.execute("DELETE FROM records WHERE used < ? OR version <> ?", (_day() - _EXPIRY_DAYS, self.version))
        except sqlite3.Error:
            database.close()
            raise
        return database

    def read(self, paths: Sequence[str], states: Sequence[FileState]) -> Iterator[tuple[int, bytes]]:
        """(index, record) of each path that is cached with the same file state."""
        if self._database is None:
            return
        today = _day()
        try:
            for start in range(0, len(paths), _PATHS_PER_QUERY):
                indices = {_key(paths[index]): index for index in range(start, min(start + _PATHS_PER_QUERY, len(paths)))}
                marks = ",".join("?" * len(indices))
                query = f"SELECT path, size, modified, record, used FROM records WHERE path IN ({marks})"
                used = []
                for path, size, modified, record, last_used in self._database.execute(query, list(indices)).fetchall():
                    if states[indices[path]] == (size, modified) and size >= 0:
                        yield indices[path], record
                        if last_used < today - 1:
                            used.append((today, path))
                if used:
                    self._database.executemany("UPDATE records SET used = ? WHERE path = ?", used)
        except sqlite3.Error:
            self._close()

    def write(self, records: Iterable[tuple[str, FileState, bytes]]) -> None:
        """Stores (path, file state, record) of each image."""
        if self._database is None:
            return
        today = _day()
        rows = ((_key(path), self.version, *state, today, record) for path, state, record in records)
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?)", rows)
            self._database.execute("COMMIT")
        except sqlite3.Error:
            self._close()

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


def _key(path: str) -> bytes:
    return os.fsencode(os.path.abspath(path))  # noqa: PTH100 -- a Path is slow for millions of names


def _day() -> int:
    return int(time.time() // 86400)


def compute_records(
    paths: Sequence[str],
    compute: Callable[[str], bytes],
    cache: RecordCache,
    advance: Callable[[int], object],
    *,
    slow: bool = False,
) -> Iterator[tuple[int, bytes | ImageError]]:
    """Yields (index, record) of each image, cached ones of unchanged files first, the others computed in parallel.

    Yields the ImageError of `compute` for an image that cannot be read; it is not cached, as the cause may lie outside the
    file (permissions, a missing package). `advance` is called with the number of images done. If `compute` is `slow`, each
    record is saved at once, so that a killed process loses only those that are being computed.
    """
    states = [file_state(path) for path in paths]
    cached = set()
    for index, record in cache.read(paths, states):
        cached.add(index)
        yield index, record
    advance(len(cached))
    new = [index for index in range(len(paths)) if index not in cached]

    def run(chunk: Sequence[int]) -> list[tuple[int, bytes | ImageError]]:
        done: list[tuple[int, bytes | ImageError]] = []
        for index in chunk:
            try:
                done.append((index, compute(paths[index])))
            except ImageError as error:
                done.append((index, error))
        return done

    unsaved: list[tuple[str, FileState, bytes]] = []
    saved = time.perf_counter()
    size = 1 if slow else _CHUNK
    chunks = (new[start : start + size] for start in range(0, len(new), size))
    try:
        for done in map_in_threads(run, chunks, available_cores()):
            unsaved += [(paths[index], states[index], each) for index, each in done if isinstance(each, bytes)]
            if slow or time.perf_counter() - saved > _SAVE_SECONDS:
                cache.write(unsaved)
                unsaved.clear()
                saved = time.perf_counter()
            yield from done
            advance(len(done))
    finally:
        cache.write(unsaved)
