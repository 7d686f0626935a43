"""`python -m facecls`, which torchrun needs; the same command line as `facecls`."""

from facecls.cli import main

if __name__ == "__main__":
    main()
