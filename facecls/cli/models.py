"""The commands about models and the config format: models, config schema."""

from pathlib import Path
from typing import Annotated

import typer

from facecls.cli.options import Format


def models(
    config: Annotated[Path | None, typer.Argument(help="YAML config whose model, head and image size to use.")] = None,
    image_size: Annotated[int, typer.Option(min=16, help="Input side in pixels; ignored if a config is given.")] = 112,
    classes: Annotated[int, typer.Option(min=2, help="Number of classes.")] = 10,
    format_: Format = "table",
) -> None:
    """List the models with parameters and multiply-adds, and the face detectors with weights, licence and source."""
    from facecls.config.load import load_config
    from facecls.config.schema import HeadConfig, ModelConfig
    from facecls.models.catalogue import list_detectors, list_models, models_to_json, print_models

    model, head = ModelConfig(), HeadConfig()
    if config is not None:
        settings = load_config(config)
        model, head, image_size = settings.model, settings.head, settings.data.image_size
    listed = list_models(model, head, image_size=image_size, classes=classes)
    detectors = list_detectors()
    if format_ == "json":
        print(models_to_json(listed, detectors))
    else:
        print_models(listed, detectors, image_size=image_size, classes=classes)


def config_schema() -> None:
    """Print the JSON schema of configs, for editors."""
    import json

    from facecls.config.json_schema import json_schema

    print(json.dumps(json_schema(), indent=2))
