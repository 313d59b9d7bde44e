"""Images in registries: pushed without an engine, layer by layer, and read from there."""
