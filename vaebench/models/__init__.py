"""The models: a file for each objective, or for a family of them."""
