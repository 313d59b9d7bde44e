"""Images without a daemon: wheels become layers, and the digest is known beforehand."""
