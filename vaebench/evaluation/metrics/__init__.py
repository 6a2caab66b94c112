"""The diagnostics: one a file, all reading the same draws."""
