"""Verdicts: a lock's facts held against the loader's rules, before anything is built."""
