"""The config: its schema, and reading it from a file."""
