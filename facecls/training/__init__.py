"""The training engine: optimizer, schedule, loop and checkpoints."""
