"""Classification of image files with a trained checkpoint."""
