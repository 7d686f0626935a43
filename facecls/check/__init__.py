"""Checks before training: a dry run of one batch, an audit of the data set, and a suggested config."""
