"""Explain: from a log, a traceback or a message to what it means, why, and what helps.

`explaining.explain` is the whole of it. What it knows is data: `builder/data/signatures.yaml`.
"""
