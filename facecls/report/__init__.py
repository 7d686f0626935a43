"""HTML reports: one self-contained page per run, cross-validation or check."""
