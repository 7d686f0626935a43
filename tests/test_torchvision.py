"""The check that torch and torchvision are compatible."""

import subprocess
import sys
from pathlib import Path

CODE = """
import sys
sys.path.insert(0, {folder!r})
sys.argv = ["facecls", "train", {config!r}]
from facecls.cli import main
main()
"""


def test_a_torchvision_built_for_another_torch_is_an_error_with_the_fix(tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    config = tmp_path / "faces.yaml"
    config.write_text("data: {root: faces}\n")
    code = CODE.format(folder=str(tmp_path), config=str(config))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    problem, empty, hint = done.stderr.splitlines()
    assert problem.startswith("error: torchvision is incompatible with torch 2.")
    assert problem.endswith(": operator torchvision::nms does not exist") and empty == ""
    assert hint == "hint: install both from one release: `pip install --force-reinstall torch torchvision`"
