"""Training: the loop, the optimizer step, learning-rate schedules, checkpointing, calibration."""
