"""The losses against their formulas, and what a loss receives."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from facecls.config.load import load_config
from facecls.config.schema import LossConfig
from facecls.training.losses import LOSSES, cross_entropy, focal
from tests.training.runs import run_in

Tiny = Callable[..., Path]


@pytest.mark.parametrize("weighted", [False, True])
def test_focal_loss_with_gamma_0_is_cross_entropy(weighted: bool) -> None:
    torch.manual_seed(0)
    logits, targets = 3 * torch.randn(8, 5), torch.rand(8, 5).softmax(1)
    weights = torch.rand(5) + 0.5 if weighted else None
    config = LossConfig(focal_gamma=0.0, label_smoothing=0.1)
    expected = cross_entropy(logits, logits, targets, config, weights)
    torch.testing.assert_close(focal(logits, logits, targets, config, weights), expected)


def test_focal_loss_weighs_the_true_class_by_what_its_probability_lacks() -> None:
    logits, labels = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]]), torch.tensor([0, 2])
    p = logits.softmax(1)[torch.arange(2), labels]
    expected = ((1 - p) ** 2 * -p.log()).mean()
    config = LossConfig(focal_gamma=2.0, label_smoothing=0.0)
    torch.testing.assert_close(focal(logits, logits, functional.one_hot(labels, 3).float(), config, None), expected)


def test_a_loss_receives_logits_embeddings_targets_and_class_weights(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = set()

    def spy(logits: Tensor, embeddings: Tensor, targets: Tensor, config: LossConfig, class_weights: Tensor | None) -> Tensor:
        assert class_weights is not None
        shapes.add(tuple(tensor.shape[-1] for tensor in (logits, embeddings, targets, class_weights)))
        return cross_entropy(logits, embeddings, targets, config, class_weights)

    monkeypatch.setitem(LOSSES, "focal", spy)
    config = tiny(loss={"name": "focal"}, data={"balance": "loss"}, train={"epochs": 1, "batch_size": 16})
    run_in(tmp_path / "run", load_config(config))
    assert shapes == {(4, 128, 4, 4)}


def test_a_run_learns_with_focal_loss(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(loss={"name": "focal"}, train={"epochs": 10, "batch_size": 8}, augment={"erase": 0.0, "rotate": 0.0})
    assert run_in(tmp_path / "run", load_config(config)).best.val_accuracy >= 0.5
