"""From a row to its lock: the exact wheels, resolved against the world of the row's day."""
