"""The cache of looks: one small database in the user's cache folder; without it everything works, only slower."""

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

from facecls.files import cache_folder

FileState = tuple[int, int]  # a file's size and its time of change in ns

_FILE = "looks.sqlite"
_FORGET_DAYS = 180  # after which a look that nobody asked for is dropped
_AT_ONCE = 500  # paths in one question: SQLite's limit was 999 once


class ImageStatsCache:
    """Records of bytes, all of one `kind`, by path and stamp. Those of other kinds are dropped.

    Two processes may use it at once; one that cannot be used is gone without. What is in it can be made again, so a damaged
    file is replaced and a full disk ends the keeping, not the run.
    """

    def __init__(self, folder: Path | None, kind: str) -> None:
        self.path = cache_folder(folder) / _FILE
        self.kind = kind
        self.hits: list[int] = []
        self._database: sqlite3.Connection | None = None

    def __enter__(self) -> "ImageStatsCache":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._database = self._open()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):  # locked, not writable: nothing is wrong with the file
                    raise
                self.path.unlink()
                self._database = self._open()
        except (OSError, sqlite3.Error):
            self._database = None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        try:
            database.execute("PRAGMA synchronous = OFF")  # a look that is lost when the power fails is made again
            database.execute(
                "CREATE TABLE IF NOT EXISTS looks "
                "(path BLOB PRIMARY KEY, kind TEXT, size INTEGER, changed INTEGER, used INTEGER, record BLOB) "
                "WITHOUT ROWID"
            )
            database.execute("DELETE FROM looks WHERE used < ? OR kind <> ?", (_day() - _FORGET_DAYS, self.kind))
        except sqlite3.Error:
            database.close()
            raise
        return database

    def known(self, paths: Sequence[str], fingerprints: Sequence[FileState]) -> Iterator[tuple[int, bytes]]:
        """(number, record) of each path that is kept with the same stamp; the numbers also go to `hits`."""
        if self._database is None:
            return
        today = _day()
        try:
            for start in range(0, len(paths), _AT_ONCE):
                asked = {_key(paths[index]): index for index in range(start, min(start + _AT_ONCE, len(paths)))}
                marks = ",".join("?" * len(asked))
                question = f"SELECT path, size, changed, record, used FROM looks WHERE path IN ({marks})"
                stale = []
                for path, size, changed, record, used in self._database.execute(question, list(asked)).fetchall():
                    index = asked[path]
                    if fingerprints[index] == (size, changed) and size >= 0:
                        self.hits.append(index)
                        yield index, record
                        if used < today - 1:
                            stale.append((today, path))
                if stale:
                    self._database.executemany("UPDATE looks SET used = ? WHERE path = ?", stale)
        except sqlite3.Error:
            self._give_up()

    def keep(self, stats: Iterable[tuple[str, FileState, bytes]]) -> None:
        """Keeps (path, stamp, record) of each."""
        if self._database is None:
            return
        today = _day()
        rows = ((_key(path), self.kind, *stamp, today, record) for path, stamp, record in stats)
        try:
            self._database.execute("BEGIN IMMEDIATE")
            # The columns are named, because a database of an earlier version may have one more.
            columns = "path, kind, size, changed, used, record"
            self._database.executemany(f"INSERT OR REPLACE INTO looks ({columns}) VALUES (?, ?, ?, ?, ?, ?)", rows)
            self._database.execute("COMMIT")
        except sqlite3.Error:
            self._give_up()

    def _give_up(self) -> None:
        assert self._database is not None
        self._database.close()
        self._database = None


def _key(path: str) -> bytes:
    return os.fsencode(os.path.abspath(path))  # noqa: PTH100 -- a Path for each of a million files is slow


def _day() -> int:
    return int(time.time() // 86400)
