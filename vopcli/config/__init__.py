"""Settings: schema, presets, and loading of `vop.yaml`."""
