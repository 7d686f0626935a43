"""Opens a page in headless Chromium; returns the DOM after its scripts and the console messages."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

_OPTIONS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--disable-extensions"),
    *("--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom"),
    "--host-resolver-rules=MAP * ~NOTFOUND",  # no network access
]


@dataclass(frozen=True)
class OpenedPage:
    """A page after its scripts have run."""

    dom: str
    console: list[str]


def open_page(page: Path, workspace: Path) -> OpenedPage:
    """Opens a page with a fresh profile below `workspace`."""
    assert CHROMIUM is not None
    command = [CHROMIUM, *_OPTIONS, f"--user-data-dir={workspace / 'profile'}", page.as_uri()]
    home = os.environ | {"HOME": str(workspace)}  # not the user's own settings
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=home)
    return OpenedPage(done.stdout, re.findall(r"CONSOLE.*?\] (.*), source", done.stderr))
