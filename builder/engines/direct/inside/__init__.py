"""What the base's own Python runs: standard library only, Python 3.8 and later.

Each file is a program of its own, and is started by its path.
"""
