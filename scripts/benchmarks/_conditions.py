"""What a figure was measured on, printed with it by every benchmark."""

import torch

from facecls.device import Device
from facecls.processor import processor
from facecls.text import plural


def conditions(device: Device) -> dict[str, str | int]:
    """The processor (on CUDA also the GPU), device, precision, threads and torch version, for a benchmark that prints JSON."""
    gpu = {"gpu": torch.cuda.get_device_name(device.torch_device)} if device.type == "cuda" else {}
    return {
        "processor": processor(),
        **gpu,
        "device": str(device.torch_device),
        "precision": device.precision,
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }


def conditions_line(device: Device) -> str:
    """The same as a line: `AMD EPYC, cpu, bf16, 2 threads, torch 2.9.0`."""
    texts = conditions(device) | {"threads": plural(torch.get_num_threads(), "thread"), "torch": f"torch {torch.__version__}"}
    return ", ".join(map(str, texts.values()))
