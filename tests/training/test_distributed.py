"""Two processes that train one model, as torchrun starts them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facecls.checkpoint import read_plain
from facecls.config.load import load_config
from facecls.data.listing import ImageList, Paths
from facecls.data.load import LoadedSplit
from facecls.errors import DeviceError, TrainingError
from facecls.run import Run
from facecls.training.distributed import DistributedGroup, SingleProcess
from facecls.training.train import _check_same_data
from tests.training.runs import run_in

Tiny = Callable[..., Path]

# Without batch norm, whose statistics are each process's own, and without mixing, which takes partners from one process.
EXACT = {
    "model": {"name": "linear"},
    "precision": "fp32",
    "optimizer": {"name": "sgd", "lr": 0.01},
    "train": {"epochs": 2, "ema": 0.9},
}


def two(config: Path, out: Path, *more: str) -> list[str]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "facecls"]
    return [*launch, "train", str(config), "--out", str(out), *more]


def test_two_processes_give_the_losses_of_one_with_the_same_batch(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(**EXACT)
    alone = [sys.executable, "-m", "facecls", "train", str(config), "--out", str(tmp_path / "one")]
    subprocess.run([*alone, "--set", "train.batch_size=16"], check=True, capture_output=True)
    output = subprocess.run(two(config, tmp_path / "two", "--set", "train.batch_size=8"), capture_output=True, text=True)
    assert output.returncode == 0, output.stderr
    for one, both in zip(Run(tmp_path / "one").rows(), Run(tmp_path / "two").rows(), strict=True):
        for figure in ("train_loss", "val_loss", "val_accuracy", "train_accuracy"):
            assert getattr(both, figure) == pytest.approx(getattr(one, figure), abs=1e-5)
    weights = [read_plain(tmp_path / name / "best.pt")["weights"]["head.weight"] for name in ("one", "two")]
    assert torch.allclose(weights[0], weights[1], atol=1e-5)
    assert output.stdout.splitlines()[-1] == str(tmp_path / "two" / "best.pt")
    assert output.stdout.count("epoch 1/2") == 1
    assert "2 processes: batch norm uses the 8 images of each process in a step" in output.stderr


def test_a_killed_rank_ends_the_run_with_an_error_and_it_resumes_from_last(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(train={"epochs": 100_000, "batch_size": 4})
    run = Run(tmp_path / "run")
    process = subprocess.Popen(two(config, run.folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(2):  # when the second epoch is over, what the first one left is on the disk
        process.stdout.readline()
    os.kill(_rank_1_of(process.pid), signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "error: rank 0 lost the connection to another rank" in err or "Signal 9 (SIGKILL)" in err
    done = read_plain(run.last)["training"]["epoch"]
    assert done >= 1
    epochs = f"train.epochs={done + 2}"
    subprocess.run(two(config, run.folder, "--resume", "--set", epochs), check=True, capture_output=True)
    rows = [json.loads(line)["epoch"] for line in run.metrics.read_text().splitlines()]
    assert rows == list(range(done + 2))


def on_two_machines(config: Path, folders: list[Path], *more: str) -> list[str]:
    """What each of two torchrun launchers with one process and a current directory of its own prints to stderr."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1"]
    command = [f"--master-port={port}", "-m", "facecls", "train", str(config), "--out", "run", *more]
    root = str(Path(__file__).parents[2])
    processes = [
        subprocess.Popen(
            [*launch, f"--node-rank={rank}", *command],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": root},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, folder in enumerate(folders)
    ]
    try:
        return [process.communicate(timeout=60)[1] for process in processes]
    finally:
        for process in processes:
            process.terminate()


def test_a_rank_without_the_run_directory_does_not_resume_at_another_epoch(tiny: Tiny, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    config = tiny(**EXACT)
    on_two_machines(config, folders)
    output = on_two_machines(config, folders, "--resume", "--set", "train.epochs=4")
    for text in output:
        assert (
            "error: run: rank 1 of 2 is at epoch 1, step 0, best epoch none; rank 0 is at epoch 3, step 0, best epoch" in text
        )
        assert "hint: all ranks read the run directory: use one that all machines share, or copy it to each" in text
    assert [row.epoch for row in Run(folders[0] / "run").rows()] == [0, 1]


def _rank_1_of(launcher: int) -> int:
    """The process that torchrun started as rank 1."""
    for _ in range(100):
        children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
        for child in children:
            if b"\0RANK=1\0" in b"\0" + Path(f"/proc/{child}/environ").read_bytes():
                return int(child)
        time.sleep(0.1)
    raise AssertionError("torchrun has no rank 1")


def worker(monkeypatch: pytest.MonkeyPatch, *, local: int, gpus: int) -> DistributedGroup:
    """A rank of a group that was not initialised, on a machine with so many GPUs."""
    monkeypatch.setenv("LOCAL_RANK", str(local))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    return DistributedGroup.__new__(DistributedGroup)


def test_each_process_takes_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [worker(monkeypatch, local=1, gpus=2).device(name) for name in ("auto", "cuda", "cpu")] == [
        "cuda:1",
        "cuda:1",
        "cpu",
    ]
    # `cuda` where there is none is refused as it is in a single process.
    assert [worker(monkeypatch, local=1, gpus=0).device(name) for name in ("auto", "cuda", "cpu")] == ["cpu", "cuda", "cpu"]


@pytest.mark.parametrize(
    ("name", "output", "hint"),
    [
        (
            "auto",
            "device: `auto`: local rank 2 has no CUDA device of its own, this machine has 2",
            "torchrun --nproc-per-node=2, or `device: cpu`",
        ),
        ("cuda:1", "device: `cuda:1` is one device for all processes", "use `device: cuda`, which gives each its own"),
        ("mps", "device: `mps` is one device for all processes", "use `device: cpu`, or do not use torchrun"),
    ],
)
def test_a_process_without_a_device_of_its_own_is_an_error(
    monkeypatch: pytest.MonkeyPatch, name: str, output: str, hint: str
) -> None:
    with pytest.raises(DeviceError) as raised:
        worker(monkeypatch, local=2, gpus=2).device(name)
    assert (str(raised.value), raised.value.hint) == (output, hint)


def test_a_process_that_found_other_images_ends_the_run(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = [Path(), "another hash"]  # the run's folder, then what it is to train on and to be scored by
    monkeypatch.setattr(SingleProcess, "size", 2)
    monkeypatch.setattr(SingleProcess, "all_gather", lambda _, mine: [mine, other.pop(0)])
    with pytest.raises(TrainingError) as raised:
        run_in(tmp_path / "run", load_config(tiny()))
    assert str(raised.value) == "data.root: rank 1 of 2 has other images or splits than rank 0"
    assert raised.value.hint == (
        "give every machine the same files; if only the splits differ, the same split.csv as data.split_file"
    )
    assert not Run(tmp_path / "run").config.exists()


def test_what_a_process_trains_on_is_told_by_classes_paths_labels_and_splits() -> None:
    def expected(classes: tuple[str, ...], **splits: tuple[list[str], list[int]]) -> object:
        output: list[object] = []

        class Two(SingleProcess):
            size = 2

            def all_gather(self, mine: Any) -> list[Any]:
                output.append(mine)
                return [mine, mine]

        held: Any = [
            LoadedSplit(name, ImageList(Paths.of("faces", paths), np.array(labels, np.int32)), np.empty(len(labels)))  # type: ignore[arg-type]  # no store is needed
            for name, (paths, labels) in splits.items()
        ]
        _check_same_data(Two(), classes, held)
        return output[0]

    one = expected(("a", "b"), train=(["a/1", "b/1"], [0, 1]), val=(["a/2"], [0]))
    assert one == expected(("a", "b"), train=(["a/1", "b/1"], [0, 1]), val=(["a/2"], [0]))
    others = [
        expected(("a", "c"), train=(["a/1", "b/1"], [0, 1]), val=(["a/2"], [0])),
        expected(("a", "b"), train=(["b/1", "a/1"], [1, 0]), val=(["a/2"], [0])),
        expected(("a", "b"), train=(["a/1", "b/1"], [0, 0]), val=(["a/2"], [0])),
        expected(("a", "b"), train=(["a/1"], [0]), val=(["b/1", "a/2"], [1, 0])),
    ]
    assert len({one, *others}) == 5


def test_all_processes_train_in_the_precision_that_the_first_has_measured(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facecls.precision.cache_folder", lambda: tmp_path)
    monkeypatch.setattr("facecls.precision.measure", lambda *_: {"fp32": 1.0, "bf16": 2.0})
    monkeypatch.setattr(SingleProcess, "all_gather", lambda _, mine: ["bf16" if isinstance(mine, str) else mine])
    run_in(tmp_path / "run", load_config(tiny(precision="auto", train={"epochs": 1})))
    assert "\nprecision: bf16\n" in (tmp_path / "run" / "config.yaml").read_text()
