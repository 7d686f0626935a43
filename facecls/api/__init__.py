"""The public Python API, as `facecls` exposes it; docs/python.md shows it. The command line does its work through it.

Nothing of the process changes by using it: thread count, allocator, warning filters, signal handlers and the state of torch's
random generators are afterwards what they were.
"""
