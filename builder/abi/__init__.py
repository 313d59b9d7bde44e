"""Facts that binaries say of themselves, before anything judges them."""
