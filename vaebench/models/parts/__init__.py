"""What a model is made of; each part is a keyword of the models, and its name is registered.

- `networks`, `likelihoods`, `priors`, `posteriors`: the encoder and decoder, p(x|z), p(z) and q(z|x).
- `schedules`: of β. `corruptions`: of the input of a denoising autoencoder.
- `given`: the same parts, given as a user's own modules and distributions.
- `continuous_bernoulli`: a distribution that torch lacks.
"""
