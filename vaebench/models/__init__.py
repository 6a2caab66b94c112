"""The models: one objective a file."""
