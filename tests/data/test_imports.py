"""Which packages the modules of facecls.data import."""

import subprocess
import sys
from pathlib import Path

import facecls.data

CODE = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
assert "torchvision" not in sys.modules
"""


def test_only_facefolder_imports_torchvision() -> None:
    package = Path(facecls.data.__path__[0])
    modules = [".".join(path.relative_to(package.parent.parent).with_suffix("").parts) for path in package.rglob("*.py")]
    modules.remove("facecls.data.folder")
    assert len(modules) > 10
    subprocess.run([sys.executable, "-c", CODE, *modules], check=True, timeout=120)
