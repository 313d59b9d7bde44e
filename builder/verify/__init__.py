"""Proving an image: the checks that run in it, and the evidence they leave."""
