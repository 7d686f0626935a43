"""Logs a training to MLflow."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from torch import Tensor

from facecls.config.schema import Config, flatten
from facecls.errors import InstallError, RunError
from facecls.run import EpochMetrics, Run
from facecls.training.signals import Interrupted
from facecls.training.tensorboard import figures_of

_TELEMETRY = "MLFLOW_DISABLE_TELEMETRY"
_BATCH = 100  # parameters in a request, the most that MLflow takes


class MlflowTracker:
    """Logs the config as parameters, metrics by epoch, and config, split, metrics, report and best.pt as artifacts.

    They go to the store and experiment that MLflow is set to, by its environment variables or functions; into the active MLflow
    run if there is one, else into a new one. A resumed run continues its MLflow run. A store that fails during training
    does not stop it.

    Raises InstallError if mlflow is not installed.
    """

    def __init__(self) -> None:
        self._mlflow = _import_mlflow()
        self._failures: tuple[type[Exception], ...] = (self._mlflow.exceptions.MlflowException, OSError)

    def connect(self) -> None:
        """Raises RunError if the store cannot be used."""
        with self._reaching_the_store():
            self._client = self._mlflow.MlflowClient()
            self._experiment = os.environ.get("MLFLOW_EXPERIMENT_ID")  # which mlflow.set_experiment sets
            if self._experiment is None:
                name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "Default")
                found = self._client.get_experiment_by_name(name)
                self._experiment = self._client.create_experiment(name) if found is None else found.experiment_id

    def start(self, run: Run, config: Config, note: Callable[[str], None], *, resumed: bool) -> None:
        self._run, self._note = run, note
        kept, active = run.folder / ".mlflow_run_id", self._mlflow.active_run()
        with self._reaching_the_store():
            # Two trainings in one MLflow run would mix their metrics: the second gets a run of its own below it.
            taken = active is not None and "model.name" in self._client.get_run(active.info.run_id).data.params
            self._owned = active is None or taken
            if resumed and kept.exists():
                self._id = kept.read_text(encoding="utf-8")
                self._client.update_run(self._id, status="RUNNING")
            elif active is None or taken:
                tags = {} if active is None else {"mlflow.parentRunId": active.info.run_id}
                self._id = self._client.create_run(self._experiment, run_name=run.folder.name, tags=tags).info.run_id
            else:
                self._id = active.info.run_id
            known = self._client.get_run(self._id).data.params  # a parameter cannot be changed
        kept.write_text(self._id, encoding="utf-8")
        entities = self._mlflow.entities
        params = [entities.Param(key, str(value)) for key, value in flatten(config.model_dump(mode="json")).items()]
        params = [param for param in params if param.key not in known]
        for first in range(0, len(params), _BATCH):
            self._log(self._client.log_batch, params=params[first : first + _BATCH])

    def batch(self, epoch: int, images: Callable[[], Tensor]) -> None: ...

    def epoch(self, row: EpochMetrics) -> None:
        self._log_metrics(figures_of(row), row.epoch)

    def finish(self, best: EpochMetrics, report: Callable[[], Path | None]) -> None:
        self._log_metrics(
            {f"best_{name}": value for name, value in figures_of(best).items()} | {"best_epoch": best.epoch}, best.epoch
        )
        run = self._run
        for path in (run.config, run.split, run.metrics, run.environment, run.best, report()):
            if path is not None:
                self._log(self._client.log_artifact, str(path))

    def close(self, error: BaseException | None) -> None:
        if self._owned:
            stopped = isinstance(error, Interrupted | KeyboardInterrupt)
            status = "FINISHED" if error is None else "KILLED" if stopped else "FAILED"
            self._log(self._client.set_terminated, status)

    @contextmanager
    def _reaching_the_store(self) -> Iterator[None]:
        try:
            yield
        except self._failures as error:
            raise RunError(
                f"train.tracker: the MLflow store {self._mlflow.get_tracking_uri()} cannot be used: {_first_line(error)}",
                hint="set the environment variable MLFLOW_TRACKING_URI, or `train.tracker: none`",
            ) from error

    def _log_metrics(self, figures: dict[str, float], epoch: int) -> None:
        now = round(1000 * time.time())
        metrics = [self._mlflow.entities.Metric(name, value, now, epoch) for name, value in figures.items()]
        self._log(self._client.log_batch, metrics=metrics)

    def _log(self, call: Callable[..., object], *values: object, **named: object) -> None:
        try:
            call(self._id, *values, **named)
        except self._failures as error:
            self._note(f"warning: train.tracker: not logged to MLflow: {_first_line(error)}")


def _import_mlflow() -> ModuleType:
    try:
        with _without_telemetry():
            import mlflow
    except ImportError as error:
        raise InstallError("train.tracker: mlflow is not installed", hint="`pip install 'facecls[mlflow]'` adds it") from error
    assert isinstance(mlflow, ModuleType)
    return mlflow


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """MLflow decides when it is imported whether it reports its use to its makers."""
    before = os.environ.get(_TELEMETRY)
    if "mlflow" not in sys.modules:
        os.environ[_TELEMETRY] = "true"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_TELEMETRY, None)
        else:
            os.environ[_TELEMETRY] = before


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
