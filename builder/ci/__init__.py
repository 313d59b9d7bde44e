"""The matrix as jobs of a CI system, and what today's package index would make of it. Pure."""
