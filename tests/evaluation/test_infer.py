"""One pass of a classifier, and what of it is kept."""

import torch

from facecls.config.schema import HeadConfig, ModelConfig
from facecls.device import pick_compute
from facecls.evaluation.infer import outputs_of
from facecls.models import build_model


def test_logits_and_features_are_kept_where_they_are_wanted() -> None:
    torch.manual_seed(0)
    model = build_model(ModelConfig(name="linear"), HeadConfig(), classes=3, image_size=16)
    batches, compute = [torch.rand(4, 3, 16, 16), torch.rand(2, 3, 16, 16)], pick_compute("cpu", "fp32")
    both = outputs_of(model, batches, compute)
    logits = outputs_of(model, batches, compute, featured=False)
    features = outputs_of(model, batches, compute, scored=False)
    assert (both.logits.shape, both.features.shape) == ((6, 3), (6, 3 * 16 * 16))
    assert (logits.logits == both.logits).all() and logits.features.shape == (6, 0)
    assert (features.features == both.features).all() and features.logits.shape == (6, 0)
