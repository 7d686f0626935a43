"""Experiment trackers, with real local stores."""

import importlib.util
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import facecls
from facecls.config.load import load_config
from facecls.errors import InstallError, RunError
from facecls.run import Run
from tests.training.test_loop import Tiny

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of the trackers themselves
needs_mlflow = pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed")
needs_tensorboard = pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of an MLflow store in a file."""
    import mlflow

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "faces")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "")  # so that the one that mlflow.set_experiment sets is removed afterwards
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID")
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # forgets that of another test
    return mlflow.MlflowClient(uri)


def runs_of(store: Any) -> list[Any]:
    return list(store.search_runs([store.get_experiment_by_name("faces").experiment_id]))


@needs_mlflow
def test_mlflow_gets_config_metrics_figures_and_files(tiny: Tiny, tmp_path: Path, store: Any) -> None:
    trained = facecls.train(load_config(tiny(), ["train.tracker=mlflow"]), out=tmp_path / "run")
    assert trained is not None
    (run,) = runs_of(store)
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert run.data.params["model.name"] == "cnn" and run.data.params["train.epochs"] == "2"
    rows = Run(tmp_path / "run").rows()
    logged = store.get_metric_history(run.info.run_id, "val_loss")
    assert [(each.step, each.value) for each in logged] == [(row.epoch, row.val_loss) for row in rows]
    assert run.data.metrics["best_val_accuracy"] == trained.best.val_accuracy
    assert run.data.metrics["best_val_ece_calibrated"] == trained.best.val_ece_calibrated
    files = {each.path for each in store.list_artifacts(run.info.run_id)}
    assert files == {"best.pt", "config.yaml", "environment.json", "metrics.jsonl", "report.html", "split.csv"}


@needs_mlflow
def test_a_resumed_run_continues_its_mlflow_run(tiny: Tiny, tmp_path: Path, store: Any) -> None:
    config = load_config(tiny(train={"epochs": 3}), ["train.tracker=mlflow"])
    with pytest.raises(KeyboardInterrupt):
        facecls.train(config, out=tmp_path / "run", callbacks=[lambda _: signal.raise_signal(signal.SIGINT)])
    (run,) = runs_of(store)
    assert run.info.status == "KILLED"
    facecls.train(config, out=tmp_path / "run", resume=True)
    (run,) = runs_of(store)
    assert run.info.status == "FINISHED"
    assert {each.step for each in store.get_metric_history(run.info.run_id, "val_accuracy")} == {0, 1, 2}


@needs_mlflow
def test_an_active_mlflow_run_is_used_and_stays_open(tiny: Tiny, tmp_path: Path, store: Any) -> None:
    import mlflow

    mlflow.set_experiment("faces")
    with mlflow.start_run() as active:
        facecls.train(load_config(tiny(), ["train.tracker=mlflow", "train.epochs=1"]), out=tmp_path / "run")
        assert store.get_run(active.info.run_id).info.status == "RUNNING"
        facecls.train(load_config(tiny(), ["train.tracker=mlflow", "train.epochs=1"]), out=tmp_path / "second")
    below, run = runs_of(store)
    assert run.info.run_id == active.info.run_id and "best_val_loss" in run.data.metrics
    assert (below.info.run_name, below.data.tags["mlflow.parentRunId"]) == ("second", run.info.run_id)


@needs_mlflow
def test_a_store_that_fails_during_training_does_not_stop_it(
    tiny: Tiny, tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    def fail(*_: object, **__: object) -> None:
        raise mlflow.exceptions.MlflowException("connection refused\nand more")

    config = load_config(tiny(), ["train.tracker=mlflow", "train.epochs=1"])
    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", fail)
    assert facecls.train(config, out=tmp_path / "run", progress=True) is not None
    assert "warning: train.tracker: not logged to MLflow: connection refused\n" in capfd.readouterr().err
    monkeypatch.setattr(mlflow.MlflowClient, "get_experiment_by_name", fail)
    with pytest.raises(RunError) as raised:
        facecls.train(config, out=tmp_path / "other")
    assert str(raised.value) == f"train.tracker: the MLflow store {store.tracking_uri} cannot be used: connection refused"
    assert raised.value.hint == "set the environment variable MLFLOW_TRACKING_URI, or `train.tracker: none`"
    assert not (tmp_path / "other").exists()


@needs_mlflow
def test_check_leaves_the_store_as_it_is(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    facecls.check_config(load_config(tiny(), ["train.tracker=mlflow"]))
    assert not (tmp_path / "mlflow.db").exists()


@needs_mlflow
def test_mlflow_is_imported_without_telemetry() -> None:
    program = (
        "import os\nfrom facecls.training.mlflow import _import_mlflow\n_import_mlflow()\n"
        "from mlflow.telemetry.client import get_telemetry_client\n"
        "print(get_telemetry_client(), 'MLFLOW_DISABLE_TELEMETRY' in os.environ)"
    )
    environment = {"PATH": "/usr/bin", "HOME": str(Path.home())}  # without the variables of CI, which disable it as well
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "None False\n"


@needs_tensorboard
def test_tensorboard_gets_config_metrics_images_and_figures(tiny: Tiny, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trained = facecls.train(load_config(tiny(), ["train.tracker=tensorboard"]), out=tmp_path / "run")
    assert trained is not None
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    assert [round(each.value, 5) for each in events.Scalars("val_loss")] == [
        round(row.val_loss, 5) for row in Run(tmp_path / "run").rows()
    ]
    assert events.Scalars("best/val_accuracy")[0].value == pytest.approx(trained.best.val_accuracy)
    assert len(events.Images("faces")) > 0
    assert b"image_size: 32" in events.Tensors("config/text_summary")[0].tensor_proto.string_val[0]


@pytest.mark.parametrize(("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("mlflow", "mlflow")])
def test_a_tracker_that_is_not_installed_is_named(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InstallError) as raised:
        facecls.train(load_config(tiny(), [f"train.tracker={name}"]), out=tmp_path / "run")
    assert str(raised.value) == f"train.tracker: {name} is not installed"
    assert raised.value.hint == f"`pip install 'facecls[{name}]'` adds it"
