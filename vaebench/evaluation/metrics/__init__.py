"""The metrics, one family a file; all of them read the same draws."""
