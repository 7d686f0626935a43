"""Where facecls keeps what it can make again: the user's cache folder."""

import os
import sys
from pathlib import Path


def cache_folder(named: Path | None = None) -> Path:
    """`named`, or the folder for facecls in the user's cache folder as the system has it; it need not exist yet.

    On Linux that is `$XDG_CACHE_HOME/facecls` or `~/.cache/facecls`, on macOS `~/Library/Caches/facecls`, on Windows
    `%LOCALAPPDATA%\\\\facecls`. XDG_CACHE_HOME, where it is set, holds everywhere.
    """
    if named is not None:
        return named
    chosen = os.environ.get("XDG_CACHE_HOME")
    if chosen and Path(chosen).is_absolute():  # as the XDG specification has it, a relative one is passed over
        return Path(chosen) / "facecls"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "facecls"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "facecls"
    return Path.home() / ".cache" / "facecls"
