"""Heads and their margins, compared with the papers' formulas element by element."""

import math

import pytest
import torch
from torch import Tensor

from facecls.config.schema import HeadConfig
from facecls.models.heads import HEADS, Head, build_head

SCALE, MARGIN = 16.0, 0.3


def new_head(name: str) -> Head:
    torch.manual_seed(0)
    return build_head(HeadConfig(name=name, scale=SCALE, margin=MARGIN), features=7, classes=5)


def cosface(cosine: float, margin: float) -> float:
    return cosine - margin


def arcface(cosine: float, margin: float) -> float:
    angle = math.acos(cosine)
    return math.cos(angle + margin) if angle + margin <= math.pi else cosine - margin * math.sin(margin)


def spread_logits() -> Tensor:
    """Cosines from -0.995 to 0.995, as logits (8, 5); for some the angle plus ArcFace's margin exceeds pi."""
    return torch.linspace(-0.995, 0.995, 40).view(8, 5) * SCALE


ONE_HOT = torch.eye(5)[[0, 1, 2, 3, 4, 0, 1, 4]]
SOFT = 0.7 * ONE_HOT + 0.3 * ONE_HOT.roll(1, dims=1)


@pytest.mark.parametrize("targets", [ONE_HOT, SOFT], ids=["one-hot", "soft"])
@pytest.mark.parametrize("strength", [0.5, 1.0])
@pytest.mark.parametrize(("name", "formula"), [("cosface", cosface), ("arcface", arcface)])
def test_a_margin_matches_the_formula_of_its_paper(name: str, formula: object, strength: float, targets: Tensor) -> None:
    assert callable(formula)
    logits = spread_logits()
    moved = new_head(name).with_margin(logits, targets, strength)
    for row in range(8):
        for column in range(5):
            cosine, share = logits[row, column].item() / SCALE, targets[row, column].item()
            expected = SCALE * ((1 - share) * cosine + share * formula(cosine, strength * MARGIN))
            assert moved[row, column].item() == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("name", HEADS)
def test_a_margin_of_strength_0_keeps_the_logits_bit_for_bit(name: str) -> None:
    logits = spread_logits()
    assert torch.equal(new_head(name).with_margin(logits, SOFT, 0.0), logits)


def test_the_linear_head_has_no_margin() -> None:
    logits = spread_logits()
    assert new_head("linear").with_margin(logits, ONE_HOT, 1.0) is logits


@pytest.mark.parametrize("name", ["cosface", "arcface"])
def test_a_margin_lowers_only_the_logit_of_the_true_class(name: str) -> None:
    logits = spread_logits()
    moved = new_head(name).with_margin(logits, ONE_HOT, 1.0)
    assert (moved < logits)[ONE_HOT == 1].all()
    assert torch.equal(moved[ONE_HOT == 0], logits[ONE_HOT == 0])


def test_arcface_increases_with_the_cosine_everywhere() -> None:
    cosines = torch.linspace(-1, 1, 2001).view(-1, 1)
    moved = new_head("arcface").with_margin(cosines * SCALE, torch.ones(2001, 1), 1.0).flatten()
    assert (moved.diff() > 0).all()


@pytest.mark.parametrize("edge", [-1.0, 1.0, -1 - 1e-6, 1 + 1e-6])
def test_arcfaces_gradient_is_finite_where_the_cosine_is_one_or_minus_one(edge: float) -> None:
    logits = torch.full((2, 5), edge * SCALE, requires_grad=True)
    moved = new_head("arcface").with_margin(logits, ONE_HOT[:2], 1.0)
    torch.autograd.backward(moved.sum())
    assert moved.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", ["cosface", "arcface"])
def test_cosine_logits_do_not_depend_on_the_length_of_the_features(name: str) -> None:
    head = new_head(name)
    features = torch.randn(4, 7)
    weight = head.get_parameter("weight")
    expected = SCALE * torch.nn.functional.cosine_similarity(features[:, None], weight[None], dim=2)
    torch.testing.assert_close(head(features), expected)
    torch.testing.assert_close(head(100 * features), expected)


@pytest.mark.parametrize("name", ["cosface", "arcface"])
def test_zero_features_give_zero_logits_and_a_bounded_gradient(name: str) -> None:
    features = torch.zeros(2, 7, requires_grad=True)
    logits = new_head(name)(features)
    torch.autograd.backward(logits.sum())
    assert torch.equal(logits, torch.zeros(2, 5))
    assert features.grad is not None
    assert features.grad.abs().max() < 1e7


@pytest.mark.parametrize("name", HEADS)
def test_logits_are_float32_under_autocast(name: str) -> None:
    head = new_head(name)
    features = torch.randn(4, 7)
    with torch.autocast("cpu", torch.bfloat16):
        logits = head(features)
        from_bf16 = head(features.bfloat16())
    assert logits.dtype == from_bf16.dtype == torch.float32
    assert torch.equal(logits, head(features))


@pytest.mark.parametrize("name", HEADS)
def test_a_head_never_synchronises_with_its_device(name: str) -> None:
    # On the meta device `.item()` and a branch on a tensor raise.
    with torch.device("meta"):
        head = build_head(HeadConfig(name=name), features=7, classes=5)
        logits = head(torch.empty(4, 7))
        assert head.with_margin(logits, torch.empty(4, 5), 0.5).shape == (4, 5)
