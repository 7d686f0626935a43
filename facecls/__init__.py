"""facecls: a folder of face photographs in, a trained face classifier out."""

__version__ = "0.1.0"
