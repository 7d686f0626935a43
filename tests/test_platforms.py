"""Every module can be imported on macOS and Windows, as far as that follows from `sys.platform`."""

import subprocess
import sys

import pytest

# Libraries are imported first: they decide by the real platform.
CODE = """
import importlib, pkgutil, sys
import filelock, jinja2, numpy, PIL.Image, psutil, pydantic, rich.table, scipy.stats, sklearn.metrics, torch, torchvision, tqdm
import torch.distributed, torch.nn.parallel, torch.utils.data, typer, yaml
sys.platform = {platform!r}
import facecls
names = [each.name for each in pkgutil.walk_packages(facecls.__path__, "facecls.") if each.name != "facecls.__main__"]
assert len(names) > 80
for name in names:
    importlib.import_module(name)
"""


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_every_module_can_be_imported(platform: str) -> None:
    done = subprocess.run([sys.executable, "-c", CODE.format(platform=platform)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
