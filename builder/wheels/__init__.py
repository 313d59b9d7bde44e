"""Wheels: found in an index, kept by their hash, and read in part over the network."""
