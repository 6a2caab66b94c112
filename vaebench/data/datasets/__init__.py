"""Data sets: one file each, every one of them reached through `vaebench.config.registry.DATASETS`."""
