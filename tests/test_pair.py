"""A torch and a torchvision that do not fit are said in plain words."""

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


def test_a_pair_that_does_not_fit_is_named_with_the_way_to_mend_it(tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    config = tmp_path / "faces.yaml"
    config.write_text("data: {root: faces}\n")
    code = CODE.format(folder=str(tmp_path), config=str(config))
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.returncode == 1
    problem, empty, hint = said.stderr.splitlines()
    assert problem.startswith("error: torchvision does not fit torch 2.")
    assert problem.endswith(": operator torchvision::nms does not exist") and empty == ""
    assert hint == "hint: both must come from one build: `pip install --force-reinstall torch torchvision`"
