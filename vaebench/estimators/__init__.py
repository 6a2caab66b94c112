"""Estimates of log p(x) by other means than draws from q(z|x), a file each."""
