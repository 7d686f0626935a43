"""Config files as people write them, with all mistakes reported together."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from facecls.config.json_schema import json_schema
from facecls.config.load import load_config
from facecls.config.schema import Config, flatten
from facecls.config.yaml import parse_value, to_yaml
from facecls.errors import ConfigError
from facecls.models.heads import HEADS
from facecls.open_set.scores import SCORES
from facecls.training.schedule import SCHEDULES


def write(folder: Path, text: str) -> Path:
    path = folder / "faces.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_all_mistakes_are_reported_together_with_their_lines(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "seed: 0\nseed: 1\ndata:\n  root: faces/\n  image_sise: 3\n  lr: 2\noptimizer:\n  lr: fast\n  nesterov: perhaps\n"
        "train: 3\nheadd: {}\ndevice: gpu\nsplit:\n  val: 0.5\n  test: 0.6\n",
    )
    with pytest.raises(ConfigError) as raised:
        load_config(path, ["augment.flip=2", "x", "train.epochs=1.5"])
    assert sorted(raised.value.problems) == sorted(
        [
            f"{path}:2: seed: appears twice, first in line 1",
            f"{path}:5: data.image_sise: `image_sise` is not a key of data",
            f"{path}:6: data.lr: `lr` is not a key of data",
            f"{path}:8: optimizer.lr: input should be a number, got 'fast'",
            f"{path}:9: optimizer.nesterov: input should be true or false, got 'perhaps'",
            "--set train.epochs: train is a value, not a section",
            f"{path}:10: train: should be a section with keys, got 3",
            f"{path}:11: headd: `headd` is not a key of the config",
            f"{path}:12: device: input should be one of auto | cpu | cuda | cuda:N | mps, got 'gpu'",
            f"{path}:13: split: val and test together take 1.1 of the images, none is left to train on",
            "--set augment.flip: input should be less than or equal to 1, got 2",
            "--set x: should be section.key=value",
        ]
    )
    assert raised.value.hint.splitlines() == [
        "did you mean `data.image_size`?",
        "`lr` belongs to `optimizer`",
        "did you mean `head`?",
    ]


def test_numbers_with_an_exponent_are_numbers_and_no_is_a_string(tmp_path: Path) -> None:
    path = write(tmp_path, "data: {root: no}\noptimizer: {weight_decay: 1e-3, lr: 5E-2, nesterov: no}\n")
    config = load_config(path)
    assert config.data.root == Path("no")
    assert (config.optimizer.weight_decay, config.optimizer.lr, config.optimizer.nesterov) == (1e-3, 5e-2, False)


@pytest.mark.parametrize(
    ("text", "value"),
    [("010", 10), ("-7", -7), ("0o17", 15), ("0x1F", 31), ("1e3", 1000.0), (".5", 0.5), ("1_000", "1_000"), ("0b1", "0b1")]
    + [(text, text) for text in ("12:30:00", "190:20:30", "2024-01-01", "2001-12-14t21:59:43.10-05:00", "no", "0o8")],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    read = parse_value(text)
    assert (read, type(read)) == (value, type(value))


def test_a_folder_name_may_look_like_a_date(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "data: {root: a}\n"), ["data.root=2024-01-01"]).data.root == Path("2024-01-01")
    assert load_config(write(tmp_path, "data: {root: 2024-01-01}\n")).data.root == Path("2024-01-01")


@pytest.mark.parametrize("text", ["09", "1e3", "0o17", "010", "no", "2024-01-01", "12:30", "0x1F", "null", "true", "é: 1"])
def test_a_string_is_written_so_that_it_reads_back_as_a_string(text: str) -> None:
    assert parse_value(to_yaml({"key": text})) == {"key": text}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {root: =}", "could not determine a constructor for the tag 'tag:yaml.org,2002:value'"),
        ("data: {root: !mine x}", "could not determine a constructor for the tag '!mine'"),
        ("seed: !!int x", "invalid literal for int() with base 10: 'x'"),
    ],
)
def test_a_value_that_yaml_cannot_construct_is_a_config_error(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(write(tmp_path, text))
    assert message in str(raised.value) and str(raised.value).startswith(str(tmp_path / "faces.yaml"))


@pytest.mark.parametrize("text", ["data: &a {root: x, split_file: *a}", "data: {root: " + "[" * 3000])
def test_endless_yaml_is_a_config_error(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(write(tmp_path, text))
    message = "not valid YAML: nested too deeply, or an alias inside the value that it refers to"
    assert raised.value.problems == (f"{tmp_path / 'faces.yaml'}: {message}",)


def test_a_merged_key_may_be_overridden(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "data: {<<: {root: a, crop: 0.5}, root: b}\n")).data.root == Path("b")


def test_true_is_not_the_number_one(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "data: {root: a}\nseed: false\ncompile: true\nsplit: {folds: true}\nmodel: {freeze: true}\n"
        "optimizer: {lr: true, nesterov: true}\n",
    )
    with pytest.raises(ConfigError) as raised:
        load_config(path, ["train.epochs=true", "train.clip_norm=true"])
    assert sorted(raised.value.problems) == [
        "--set train.clip_norm: input should be a number, got True",
        "--set train.epochs: input should be a whole number, got True",
        f"{path}:2: seed: input should be a whole number, got False",
        f"{path}:4: split.folds: input should be a whole number, got True",
        f"{path}:5: model.freeze: input should be none, backbone or a whole number from 1, got True",
        f"{path}:6: optimizer.lr: input should be a number, got True",
    ]


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        (
            "data.balance=weights",
            "data.balance: input should be none, sampler, loss or weights above 0 by class, got 'weights'",
        ),
        (
            "data.balance={ada: 0}",
            "data.balance: input should be none, sampler, loss or weights above 0 by class, got {'ada': 0}",
        ),
        ("train={best: last, patience: 3}", "train: `patience` needs a metric in `best`, not `last`"),
        ("model.freeze=1.5", "model.freeze: input should be none, backbone or a whole number from 1, got 1.5"),
        ("model.freeze=head", "model.freeze: input should be none, backbone or a whole number from 1, got 'head'"),
        ("split.by_name.dev=a", "split.by_name.dev: input should be 'val' or 'test', got 'dev'"),
        ("data.cache_dir=3", "data.cache_dir: input should be a path, got 3"),
    ],
)
def test_errors_use_the_terms_of_the_config(override: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(write(tmp_path, "data: {root: a}\n"), [override])
    assert raised.value.problems == (f"--set {problem}",)


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("model.size", "did you mean `data.image_size` or `train.batch_size` or `train.start_size`?"),
        ("train.epoch", "did you mean `train.epochs`?"),
        ("optimizer.learning_rate", "did you mean `optimizer.lr` or `optimizer.backbone_lr_factor`?"),
        ("train.lr", "`lr` belongs to `optimizer`"),
        ("model.depth", "its keys are name, stem, dropout, pretrained, freeze"),
    ],
)
def test_the_hint_for_an_unknown_key_looks_at_names_descriptions_and_other_sections(
    key: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(write(tmp_path, "data: {root: a}\n"), [f"{key}=1"])
    assert raised.value.hint == hint


@pytest.mark.parametrize(
    ("override", "names", "hint"),
    [
        ("head.name=arcfase", "'linear', 'cosface' or 'arcface'", "did you mean `arcface`?"),
        ("schedule.name=Cosine", "'onecycle', 'cosine', 'step' or 'constant'", "did you mean `cosine`?"),
        ("unknown.score=x", "'centroid', 'neighbours', 'probability' or 'energy'", None),
        ("optimizer.name=adamww", "'sgd', 'adam' or 'adamw'", "did you mean `adamw`?"),
        ("head.name=[1]", "'linear', 'cosface' or 'arcface'", None),
    ],
)
def test_an_unknown_name_is_reported_with_the_allowed_ones_and_the_nearest(
    override: str, names: str, hint: str | None, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(write(tmp_path, "data: {root: a}\n"), [override])
    key, _, value = override.partition("=")
    assert raised.value.problems == (f"--set {key}: input should be {names}, got {parse_value(value)!r}",)
    assert raised.value.hint == (hint or "`facecls config schema` prints the type and range of every key")


def test_an_unknown_model_is_reported_together_with_other_mistakes(tmp_path: Path) -> None:
    path = write(tmp_path, "data: {root: a}\nmodel: {name: resnet81}\nschedule: {name: cosin}\n")
    with pytest.raises(ConfigError) as raised:
        load_config(path)
    assert raised.value.problems == (
        f"{path}:3: schedule.name: input should be 'onecycle', 'cosine', 'step' or 'constant', got 'cosin'",
        f"{path}:2: model.name: `resnet81` is not a model",
    )
    assert raised.value.hint == "did you mean `cosine`?\ndid you mean `resnet18`?"
    with pytest.raises(ConfigError, match="`keras/vgg11` is not a model"):
        load_config(path, ["schedule.name=cosine", "model.name=keras/vgg11"])
    assert load_config(path, ["schedule.name=cosine", "model.name=timm/anything"]).model.name == "timm/anything"


def test_a_registry_is_imported_only_for_a_value_that_is_not_the_default(tmp_path: Path) -> None:
    path = write(tmp_path, "data: {root: a}\nhead: {name: linear}\nschedule: {name: onecycle}\n")
    program = f"""
import sys
from pathlib import Path
from facecls.config.load import load_config
load_config(Path({str(path)!r}))
print("torch" in sys.modules)
load_config(Path({str(path)!r}), ["head.name=cosface"])
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_every_key_has_a_description_and_registered_names_are_an_enum_of_the_json_schema() -> None:
    schema = json_schema()
    sections = {name: section["properties"] for name, section in schema["$defs"].items()}
    keys = {(name, key): field for name, section in sections.items() for key, field in section.items()}
    assert len(keys) > 60 and not [key for key, field in keys.items() if not field.get("description")]
    assert keys["HeadConfig", "name"]["enum"] == list(HEADS)
    assert keys["ScheduleConfig", "name"]["enum"] == list(SCHEDULES)
    assert keys["UnknownConfig", "score"]["enum"] == list(SCORES)


def test_freeze_takes_a_word_or_a_number(tmp_path: Path) -> None:
    path = write(tmp_path, "data: {root: a}\nmodel: {pretrained: imagenet}\n")
    values = [load_config(path, [f"model.freeze={value}"]).model.freeze for value in ("none", "backbone", 2)]
    assert values == ["none", "backbone", 2]


def test_set_overrides_the_file_and_the_file_the_default(tmp_path: Path) -> None:
    path = write(tmp_path, "data: {root: a}\ntrain: {epochs: 3}\n")
    config = load_config(path, ["train.epochs=5", "data.root=a=b", "train.clip_norm=null", "seed=7"])
    assert (config.train.epochs, config.data.root, config.train.clip_norm, config.seed) == (5, Path("a=b"), None, 7)
    assert load_config(path).train.epochs == 3
    assert load_config(path).train.batch_size == Config.model_fields["train"].default.batch_size


def test_a_missing_section_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(write(tmp_path, "seed: 1\n"))
    assert raised.value.problems == (f"{tmp_path / 'faces.yaml'}: data: is missing",)
    assert raised.value.hint == "`facecls init DIR` writes a config that fits a folder of faces"


def test_a_mistake_without_a_hint_of_its_own_refers_to_the_schema(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(write(tmp_path, "data: {root: a}\ntrain: {epochs: -3}\n"))
    assert raised.value.hint == "`facecls config schema` prints the type and range of every key"


def test_an_empty_file_a_single_value_and_invalid_yaml_are_config_errors(tmp_path: Path) -> None:
    for text, message in [
        ("", "faces.yaml: a config is a mapping of sections, this is an empty file"),
        ("42", "faces.yaml: a config is a mapping of sections, this is a single value"),
        ("data:\n  root: [a\nseed: 1", "faces.yaml:3: not valid YAML: "),
    ]:
        with pytest.raises(ConfigError, match=message):
            load_config(write(tmp_path, text))


def test_a_folder_in_place_of_a_config_gets_the_hint_to_run_init(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(tmp_path)
    assert str(raised.value) == f"{tmp_path}: is a folder, not a config file"
    assert raised.value.hint == f"`facecls init {tmp_path}` writes a config for the faces in it"


def test_a_config_is_frozen_and_survives_a_round_trip(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "data: {root: a}\n"))
    with pytest.raises(ValidationError):
        config.train.epochs = 3  # type: ignore[misc]  # the point
    assert Config.model_validate(config.model_dump(mode="json")) == config
    assert flatten(config.model_dump(mode="json"))["train.epochs"] == config.train.epochs


def test_a_start_size_above_the_image_size_is_rejected(tmp_path: Path) -> None:
    path = write(tmp_path, "data: {root: a, image_size: 64}\ntrain: {start_size: 96}\n")
    with pytest.raises(ConfigError, match=r"train.start_size \(96\) is larger than data.image_size \(64\)"):
        load_config(path)


def test_weights_of_classes_may_be_those_of_numbers(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "data: {root: a, balance: {1: 2.0, ada: 3}}\n"))
    assert config.data.balance == {"1": 2.0, "ada": 3.0}


def test_a_config_extends_another_and_the_run_keeps_the_whole(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "base.yaml").write_text(
        "data: {root: a, image_size: 48}\ntrain: {epochs: 3, batch_size: 8}\nhead: {name: cosface}\n"
    )
    (tmp_path / "shared" / "middle.yaml").write_text("extends: base.yaml\ntrain:\n  epochs: 5\n")
    path = write(tmp_path, "extends: shared/middle.yaml\ndata:\n  root: b\nseed: 2\n")
    config = load_config(path, ["train.batch_size=4"])
    assert (config.data.root, config.data.image_size, config.head.name, config.seed) == (Path("b"), 48, "cosface", 2)
    assert (config.train.epochs, config.train.batch_size) == (5, 4)
    assert "extends" not in config.model_dump()


def test_mistakes_name_the_file_and_line_of_the_key_also_in_a_base(tmp_path: Path) -> None:
    base = tmp_path / "base.yaml"
    base.write_text("data: {root: a}\noptimizer:\n  lr: fast\n  lr: 0.1\ntrain: {epochs: many}\n")
    path = write(tmp_path, "extends: base.yaml\ntrain: {epoch: 3}\nseed: x\noptimizer: {lr: slow}\n")
    with pytest.raises(ConfigError) as raised:
        load_config(path)
    assert sorted(raised.value.problems) == [
        f"{base}:4: optimizer.lr: appears twice, first in line 3",
        f"{base}:5: train.epochs: input should be a whole number, got 'many'",
        f"{path}:2: train.epoch: `epoch` is not a key of train",
        f"{path}:3: seed: input should be a whole number, got 'x'",
        f"{path}:4: optimizer.lr: input should be a number, got 'slow'",
    ]


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        ("extends: none.yaml\n", "{path}:1: extends: {folder}/none.yaml: no such file", "the path is relative to {folder}"),
        ("seed: 1\nextends: [a]\n", "{path}:2: extends: input should be a path, got ['a']", ""),
        ("extends: ./faces.yaml\n", "{path}:1: extends: `./faces.yaml` extends this file itself", "remove one `extends`"),
        (
            "extends: loop.yaml\n",
            "{folder}/loop.yaml:1: extends: `faces.yaml` extends this file itself",
            "remove one `extends`",
        ),
    ],
)
def test_what_cannot_be_extended_is_an_error(text: str, problem: str, hint: str, tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").write_text("extends: faces.yaml\n")
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as raised:
        load_config(path)
    assert raised.value.problems == (problem.format(path=path, folder=tmp_path),)
    assert raised.value.hint == hint.format(folder=tmp_path)
