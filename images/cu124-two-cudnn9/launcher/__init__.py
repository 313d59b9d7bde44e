"""Speech to text with each engine in a process of its own, and the same pattern for scripts of one's own.

In an image this package is called `cuvee`: `transcribe` is the command, `cuvee.isolation` is for scripts.
Standard library only, Python 3.9 and later.
"""
