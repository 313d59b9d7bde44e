"""Runs in images, by their own Python: what pyannote.audio needs to tell the samples' voices apart."""
