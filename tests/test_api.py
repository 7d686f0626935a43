"""The public Python API: kinds of images, threads, training, and that the process stays as it is."""

import io
import json
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import facecls
from facecls.config.load import config_of
from facecls.errors import ConfigError, DataError, ImageError
from facecls.run import EpochMetrics, Run
from tests.conftest import Result

Tiny = Callable[..., Path]

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def classifier(trained: Path) -> facecls.Classifier:
    return facecls.load(trained, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def paths(faces: Path) -> list[str]:
    return sorted(str(path) for path in faces.rglob("*.*"))


def answers(predictions: list[facecls.Prediction]) -> list[tuple[str | None, str | None, bool | None]]:
    return [(each.label, each.nearest, each.known) for each in predictions]


def test_the_import_is_light_and_the_api_complete() -> None:
    program = "import sys, facecls; print('torch' in sys.modules, *dir(facecls)); facecls.load; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    stub = (ROOT / "facecls" / "__init__.pyi").read_text()
    names = re.findall(r"^from facecls\.api\.\w+ import (\w+) as \1$", stub, flags=re.MULTILINE)
    assert second == "True" and first.split() == ["False", *sorted([*names, "__version__"])]
    assert all(callable(getattr(facecls, name)) for name in names)
    with pytest.raises(AttributeError, match="module `facecls` has no attribute `lod`"):
        facecls.lod  # type: ignore[attr-defined]  # noqa: B018


def test_an_image_is_classified_alike_in_each_kind(classifier: facecls.Classifier, paths: list[str]) -> None:
    path = next(each for each in paths if each.endswith(".png"))
    with Image.open(path) as opened:
        pixels = np.asarray(opened.convert("RGB"))
        kinds: list[Any] = [path, Path(path), Path(path).read_bytes(), io.BytesIO(Path(path).read_bytes()), opened, pixels]
        predictions = classifier.predict(kinds, top_k=2)
    assert len({(each.label, each.probability, each.top) for each in predictions}) == 1
    assert [each.path for each in predictions] == [path, path, "", "", "", ""]
    assert [len(each.top) for each in predictions] == [2] * 6
    for single in (path, Path(path).read_bytes(), pixels, Image.fromarray(pixels), io.BytesIO(Path(path).read_bytes())):
        (alone,) = classifier.predict(single)
        assert alone.label == predictions[0].label
        assert alone.probability == pytest.approx(predictions[0].probability, rel=1e-5)


def test_a_pil_image_is_turned_upright_like_its_file(classifier: facecls.Classifier, paths: list[str], tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(paths[0]) as opened:
        opened.convert("RGB").save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as turned:
        by_image, by_path = classifier.predict([turned, tmp_path / "turned.png"])
    assert by_image.probability == by_path.probability


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"", "is empty"),
        (b"no image", "is not an image that can be read"),
        ("nowhere.jpg", "no such file"),
        (np.zeros((4, 4, 3)), "is an array of float64 (4, 4, 3), not of uint8 (H, W, 3)"),
        (np.zeros((4, 4), np.uint8), "is an array of uint8 (4, 4), not of uint8 (H, W, 3)"),
        (np.zeros((0, 4, 3), np.uint8), "is an array of uint8 (0, 4, 3), not of uint8 (H, W, 3)"),
    ],
)
def test_an_image_that_cannot_be_read_has_a_reason(classifier: facecls.Classifier, image: Any, reason: str) -> None:
    (prediction,) = classifier.predict(image)
    assert (prediction.label, prediction.error) == (None, reason)
    with pytest.raises(ImageError) as raised:
        classifier.embed(image)
    assert raised.value.reason == reason


def test_what_is_no_image_is_a_type_error(classifier: facecls.Classifier) -> None:
    for wrong in ([3], [None], [["a.jpg"]], 5, None):
        with pytest.raises(TypeError, match="an image is a path, bytes, a file object, a PIL image or a uint8 array, not"):
            classifier.predict(wrong)  # type: ignore[arg-type]


def test_at_least_one_class_is_asked_for(classifier: facecls.Classifier, paths: list[str]) -> None:
    with pytest.raises(ValueError, match="top_k is at least 1, got 0"):
        classifier.predict(paths[0], top_k=0)


def test_a_folder_with_the_images_of_a_csv_is_marked_as_trained_on(faces: Path, tmp_path: Path) -> None:
    images = sorted(faces.rglob("*.*"))
    (tmp_path / "labels.csv").write_text("path,label\n" + "".join(f"{path},{path.parent.name}\n" for path in images))
    small = {"data.csv": tmp_path / "labels.csv", "data.image_size": 32, "model.name": "cnn", "train.epochs": 1}
    run = facecls.train({**small, "device": "cpu", "precision": "fp32", "optimizer.lr": 1e-9}, out=tmp_path / "run")
    assert run is not None and any(warning.startswith("not better than chance") for warning in run.warnings)
    assert facecls.evaluate(run.folder, faces).to_plain()["fitted_on_these"] is True
    for person in sorted({path.parent for path in images}):
        (tmp_path / "new" / person.name).mkdir(parents=True)
        with Image.open(min(person.iterdir())) as opened:
            opened.convert("L").save(tmp_path / "new" / person.name / "grey.png")
    assert facecls.evaluate(run.folder, tmp_path / "new").to_plain()["fitted_on_these"] is False


def test_the_order_of_dotted_keys_and_sections_does_not_matter() -> None:
    one = config_of({"train.epochs": 3, "data.root": "a", "train": {"batch_size": 8}, "data": {"image_size": 32}})
    two = config_of({"data": {"image_size": 32, "root": "a"}, "train": {"batch_size": 8, "epochs": 3}})
    assert one == two and one.train.epochs == 3


def test_a_dict_extends_a_file(faces: Path, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(f"data: {{root: {faces}, image_size: 32}}\ntrain: {{epochs: many}}\n")
    with pytest.raises(ConfigError) as raised:
        facecls.train({"extends": str(tmp_path / "base.yaml"), "train.batch_size": "x"})
    assert raised.value.problems == (
        f"{tmp_path / 'base.yaml'}:2: train.epochs: input should be a whole number, got 'many'",
        f"{tmp_path / 'base.yaml'}:2: train.batch_size: input should be a whole number, got 'x'",
    )


def test_embeddings_are_the_features_before_the_head(classifier: facecls.Classifier, paths: list[str]) -> None:
    embeddings = classifier.embed(paths[:5])
    assert embeddings.dtype == np.float32 and embeddings.shape[0] == 5
    assert classifier.embed([]).shape == (0, embeddings.shape[1])
    logits = classifier.model.classify(torch.from_numpy(embeddings)).detach().numpy()
    expected = classifier.calibration.probabilities(logits).max(axis=1)
    assert [each.probability for each in classifier.predict(paths[:5])] == pytest.approx(expected.tolist(), rel=1e-5)
    assert classifier.classes == classifier.checkpoint.classes and classifier.threshold == classifier.calibration.threshold


def test_predict_gives_the_answers_of_the_command_line(
    facecls: Callable[..., Result], classifier: "facecls.Classifier", trained: Path, paths: list[str]
) -> None:
    options = ("--checkpoint", trained, "--device", "cpu", "--precision", "fp32", "--format", "json")
    rows = json.loads(facecls("predict", *paths, *options).out)
    predictions = classifier.predict(paths)
    assert [(row["label"], row["nearest"], row["known"]) for row in rows] == answers(predictions)
    assert [row["probability"] for row in rows] == pytest.approx([each.probability for each in predictions], rel=1e-5)


def test_eight_threads_get_the_answers_of_one(classifier: facecls.Classifier, paths: list[str]) -> None:
    pixels = [np.asarray(Image.open(path).convert("RGB")) for path in paths[:9]]
    requests: list[list[Any]] = [paths[:1], paths[:7], pixels, paths, [Path(paths[3]).read_bytes()], paths[10:40], pixels[:2]]
    expected = [classifier.predict(request) for request in requests]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(classifier.predict, requests * 6))
    for number, predictions in enumerate(together):
        wanted = expected[number % len(requests)]
        assert answers(predictions) == answers(wanted)
        assert [each.probability for each in predictions] == pytest.approx([each.probability for each in wanted], rel=1e-5)


def test_the_process_stays_as_it_is(faces: Path, tmp_path: Path) -> None:
    """In a process of its own, so that no fixture has changed it before."""
    program = f"""
import signal, threading, warnings
def mine(*_): pass
signal.signal(signal.SIGTERM, mine); signal.signal(signal.SIGINT, mine)
warnings.filterwarnings("ignore", "mine")
import numpy, torch
torch.set_num_threads(2); torch.manual_seed(5); numpy.random.seed(5)
def state():
    return (
        torch.get_num_threads(), list(warnings.filters), signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT),
        torch.get_float32_matmul_precision(), torch.get_rng_state().tolist(), numpy.random.get_state()[1].tolist(),
        torch.is_grad_enabled(), torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled(),
    )
import PIL.Image, torchvision, sklearn.metrics, scipy.stats  # the filters that these install are theirs
before = state()
import facecls
config = {{"data.root": {str(faces)!r}, "data.image_size": 32, "model.name": "cnn", "train.epochs": 1}}
config |= {{"device": "cpu", "threads": 1}}
run = facecls.train(config, out={str(tmp_path / "run")!r})
classifier = facecls.load(run.folder)
classifier.predict(numpy.zeros((5, 5, 3), numpy.uint8)); classifier.embed([]); facecls.evaluate(classifier)
after = state()
print([one == two for one, two in zip(before, after)])
thread = threading.Thread(target=lambda: facecls.train(config, out={str(tmp_path / "thread")!r}))
thread.start(); thread.join()
print((state() == before), facecls.load({str(tmp_path / "thread")!r}).classes == classifier.classes)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str([True] * 10), "True True"]
    assert done.stderr == ""


def test_training_from_a_dict_equals_that_from_the_file(tiny: Tiny, tmp_path: Path, faces: Path) -> None:
    config = tiny()
    by_file = facecls.train(config, out=tmp_path / "file")
    values = {"data.root": str(faces), "device": "cpu", "precision": "fp32", "data": {"image_size": 32}}
    with pytest.raises(ConfigError):
        facecls.train(values | {"data.root.x": 1})
    nested: dict[str, Any] = {
        "device": "cpu",
        "precision": "fp32",
        "data": {"root": faces, "image_size": 32},
        "model.name": "cnn",
        "optimizer": {"name": "adamw", "lr": 3e-3},
        "schedule.warmup_epochs": 1,
        "train": {"epochs": 2, "batch_size": 16, "ema": 0.9},
    }
    by_dict = facecls.train(nested, out=str(tmp_path / "dict"))
    assert by_file is not None and by_dict is not None and by_dict.folder == tmp_path / "dict"
    one, two = (facecls.load(run.folder).checkpoint for run in (by_file, by_dict))
    assert all(torch.equal(one.weights[name], two.weights[name]) for name in one.weights)
    assert nested["data"] == {"root": faces, "image_size": 32}


def test_all_mistakes_of_a_dict_are_reported_together() -> None:
    with pytest.raises(ConfigError) as raised:
        facecls.train({"data.root": "faces", "train.epoch": 3, "optimizer.lr": "fast", "optimizer.lr.x": 2})
    assert raised.value.problems == (
        "optimizer.lr.x: optimizer.lr is a value, not a section",
        "optimizer.lr: input should be a number, got 'fast'",
        "train.epoch: `epoch` is not a key of train",
    )
    assert raised.value.hint == "did you mean `train.epochs`?"


def test_a_callback_sees_each_epoch_and_ends_training(tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    seen: list[EpochMetrics] = []

    def third(row: EpochMetrics) -> bool:
        seen.append(row)
        return row.epoch == 2

    run = facecls.train(tiny(train={"epochs": 9}), out=tmp_path / "run", callbacks=[third, lambda _: None])
    assert run is not None and run.stopped == "a callback returned True"
    pruned = facecls.train(tiny(), out=tmp_path / "pruned", callbacks=[lambda _: "pruned"])
    assert pruned is not None and (pruned.stopped, pruned.best.epoch) == ("pruned", 0)
    answers = [lambda _: 1, lambda row: {"loss": row.val_loss}, lambda _: "", lambda row: np.bool_(row.epoch > 5)]
    whole = facecls.train(tiny(), out=tmp_path / "whole", callbacks=answers)  # none of them is True or a text
    assert whole is not None and (whole.stopped, len(Run(tmp_path / "whole").rows())) == ("", 2)
    assert [row.epoch for row in seen] == [0, 1, 2]
    rows = Run(tmp_path / "run").rows()
    assert [row.val_loss for row in rows] == [row.val_loss for row in seen]
    assert capfd.readouterr() == ("", "")
    assert facecls.load(tmp_path / "run").checkpoint.calibration is not None
    resumed = facecls.train(tmp_path / "run" / "config.yaml", out=tmp_path / "run", resume=True, progress=True)
    assert resumed is not None and resumed.stopped == "" and len(Run(tmp_path / "run").rows()) == 9
    assert "epoch 9/9" in capfd.readouterr().out


def test_ctrl_c_ends_training_with_a_keyboard_interrupt_after_saving(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        facecls.train(tiny(), out=tmp_path / "run", callbacks=[lambda _: signal.raise_signal(signal.SIGINT)])
    assert Run(tmp_path / "run").last.exists()


def test_evaluate_gives_the_figures_of_eval(
    facecls: Callable[..., Result], trained: Path, faces: Path, classifier: "facecls.Classifier"
) -> None:
    import facecls as api

    for arguments, data in (((), None), (("--data", faces), faces)):
        options = ("--device", "cpu", "--precision", "fp32", "--format", "json")
        expected = json.loads(facecls("eval", trained, *arguments, *options).out)
        plain = api.evaluate(classifier, data).to_plain()
        for each in (expected, plain):
            del each["seconds"], each["images_per_second"]
        assert json.loads(json.dumps(plain)) == expected


def test_evaluate_takes_a_label_file(
    facecls: Callable[..., Result], classifier: "facecls.Classifier", faces: Path, tmp_path: Path
) -> None:
    import facecls as api

    lines = [f"{path},{path.parent.name},{'val' if number % 2 else 'train'}" for number, path in enumerate(faces.rglob("*.*"))]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label,split", *lines]))
    plain = api.evaluate(classifier, tmp_path / "labels.csv").to_plain()
    assert (plain["split"], plain["n"], plain["fitted_on_these"]) == ("val", 24, True)
    assert api.evaluate(classifier, tmp_path / "labels.csv", split="train").to_plain()["n"] == 24
    with pytest.raises(DataError) as raised:
        api.evaluate(classifier, tmp_path / "labels.csv", split="test")
    assert str(raised.value) == f"{tmp_path / 'labels.csv'}: has no split `test`"
    (tmp_path / "labels.csv").write_text("path,label\na.jpg,nobody\n")
    result = facecls("eval", classifier.source, "--data", tmp_path / "labels.csv")
    assert result.code == 1 and f"{tmp_path / 'labels.csv'}: `nobody`: is not a class of the training data" in result.err


def test_cross_validation_check_and_suggestion_are_those_of_the_command_line(
    tiny: Tiny, faces: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    validation = facecls.cross_validate(tiny(train={"epochs": 1}), folds=2, out=tmp_path / "folds")
    written = json.loads((tmp_path / "folds" / "summary.json").read_text())
    assert written == json.loads(json.dumps(validation.to_plain()))
    assert (tmp_path / "folds" / "report.html").exists() and repr(validation).startswith("<CrossValidation of 2 folds: ")
    assert [run.name for run in facecls.runs(tmp_path / "folds")] == ["fold-1", "fold-2"]
    checked = facecls.check_config(tiny())
    assert checked.to_plain()["classes"] == list(facecls.load(tmp_path / "folds" / "fold-1").classes)
    suggested = facecls.suggest_config(faces)
    assert f"root: {faces}" in suggested.yaml and suggested.unreadable == ()
    page = facecls.write_report(tmp_path / "folds" / "fold-1")
    assert page.path == tmp_path / "folds" / "fold-1" / "report.html" and page.path.exists()
    assert capfd.readouterr() == ("", "")


def test_warnings_of_images_are_the_users(classifier: facecls.Classifier, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 1
    Image.new("RGB", (8, 8)).save(tmp_path / "odd.jpg", exif=exif.tobytes()[:-6] + b"\xff\xff")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        (prediction,) = classifier.predict(tmp_path / "odd.jpg")
    assert prediction.error is None and all(issubclass(each.category, UserWarning) for each in caught)
