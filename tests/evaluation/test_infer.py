"""Inference over batches."""

import torch

from facecls.config.schema import HeadConfig, ModelConfig
from facecls.device import Device, resolve_device
from facecls.evaluation.infer import batch_size, forward_batches
from facecls.models import build_model


def test_logits_and_features_are_returned_only_if_asked_for() -> None:
    torch.manual_seed(0)
    model = build_model(ModelConfig(name="linear"), HeadConfig(), classes=3, image_size=16)
    batches, device = [torch.rand(4, 3, 16, 16), torch.rand(2, 3, 16, 16)], resolve_device("cpu", "fp32")
    both = forward_batches(model, batches, device)
    logits = forward_batches(model, batches, device, with_features=False)
    features = forward_batches(model, batches, device, with_logits=False)
    assert (both.logits.shape, both.features.shape) == ((6, 3), (6, 3 * 16 * 16))
    assert (logits.logits == both.logits).all() and logits.features.shape == (6, 0)
    assert (features.features == both.features).all() and features.logits.shape == (6, 0)


def test_batches_on_a_gpu_are_larger_the_smaller_the_images_are() -> None:
    cpu, gpu = (Device(torch.device(name), torch.float32) for name in ("cpu", "cuda"))
    assert {batch_size(cpu, side) for side in (16, 112, 1024)} == {64}
    assert [batch_size(gpu, side) for side in (16, 112, 224, 1024)] == [512, 512, 128, 6]
