"""What asks a model itself: estimates of log p(x) by other means than draws from q(z|x), and altered images."""
