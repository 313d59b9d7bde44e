"""Reproducible, proven CUDA environments for speech."""
