"""Data sets, each reached by its name through `vaebench.config.registry.DATASETS`; a family has one file."""
