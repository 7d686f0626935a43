"""Evaluation: inference, metrics, confidence intervals, open-set rates, Grad-CAM and printed tables."""
