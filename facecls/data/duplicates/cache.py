"""The cache of image statistics: an SQLite database in the user's cache folder. It is optional."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from facecls.files import FileState, cache_folder

_FILE = "image_stats.sqlite"
_EXPIRY_DAYS = 180  # after which an unused record is deleted
_PATHS_PER_QUERY = 500  # the limit of older SQLite versions is 999 parameters


class ImageStatsCache:
    """Binary records of one `version` by path and file state; records of other versions are deleted.

    Safe for concurrent processes. As every record can be computed again, a damaged database is replaced, and after any
    other database error (no permission, full disk) the run continues without the cache.
    """

    def __init__(self, folder: Path | None, version: str) -> None:
        self.path = cache_folder(folder) / _FILE
        self.version = version
        self._database: sqlite3.Connection | None = None

    def __enter__(self) -> "ImageStatsCache":
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
                "CREATE TABLE IF NOT EXISTS image_stats "
                "(path BLOB PRIMARY KEY, version TEXT, size INTEGER, modified INTEGER, used INTEGER, record BLOB) "
                "WITHOUT ROWID"
            )
            database.execute("DELETE FROM image_stats WHERE used < ? OR version <> ?", (_day() - _EXPIRY_DAYS, self.version))
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
                query = f"SELECT path, size, modified, record, used FROM image_stats WHERE path IN ({marks})"
                used = []
                for path, size, modified, record, last_used in self._database.execute(query, list(indices)).fetchall():
                    if states[indices[path]] == (size, modified) and size >= 0:
                        yield indices[path], record
                        if last_used < today - 1:
                            used.append((today, path))
                if used:
                    self._database.executemany("UPDATE image_stats SET used = ? WHERE path = ?", used)
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
            self._database.executemany("INSERT OR REPLACE INTO image_stats VALUES (?, ?, ?, ?, ?, ?)", rows)
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
