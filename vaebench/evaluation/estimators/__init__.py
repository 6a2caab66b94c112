"""Estimators evaluate the model themselves: log p(x) without draws from q(z|x), and distances of edited images."""
