"""The commands about models and configs: models, config schema."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def models(
    config: Annotated[Path | None, typer.Argument(help="A config whose image size and head to count with.")] = None,
    image_size: Annotated[int, typer.Option(min=16, help="Pixels, where no config is named.")] = 112,
    classes: Annotated[int, typer.Option(min=2, help="How many classes the head tells apart.")] = 10,
    format_: Annotated[Literal["table", "json"], typer.Option("--format")] = "table",
) -> None:
    """List the models, with their parameters and multiply-adds for one image."""
    from facecls.config.load import load_config
    from facecls.config.schema import HeadConfig, ModelConfig
    from facecls.models.catalogue import list_models, models_to_json, print_models

    model, head = ModelConfig(), HeadConfig()
    if config is not None:
        settings = load_config(config)
        model, head, image_size = settings.model, settings.head, settings.data.image_size
    listed = list_models(model, head, image_size=image_size, classes=classes)
    if format_ == "json":
        print(models_to_json(listed))
    else:
        print_models(listed, image_size=image_size, classes=classes)


def config_schema() -> None:
    """Print the JSON schema of a config, for editors."""
    import json

    from facecls.config.schema import json_schema

    print(json.dumps(json_schema(), indent=2))
