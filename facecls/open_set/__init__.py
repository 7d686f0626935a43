"""Open-set recognition: scores, rejection thresholds, their rates, and calibration."""
