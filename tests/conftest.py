"""Shared by all tests: one thread for torch, because more threads than idle cores make it far slower."""

import torch

torch.set_num_threads(1)
