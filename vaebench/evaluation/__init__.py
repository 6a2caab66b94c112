"""From draws of a trained model to estimates, with their errors and the reasons for blanks.

- `measure`: the way through it: all metrics from one set of draws, then the estimators. A metric is computed from the
  draws of q(z|x); an estimator calls the model itself.
- `metrics`: one file a family. `bounds`: ELBO, IWAE and Pareto k̂ as functions of the log-weights.
- `estimators`: annealing (AIS, BDMC), naive Monte Carlo, the gaps of inference, distances of edited images.
- `collapse`: why units collapsed; `stationarity`: whether training ended at a maximum or a saddle; `ceiling`: how far a
  model is below what no VAE can pass; `known_truth`: comparisons with what is known of synthetic data.
- `scoring`: log p(x) of single observations. `image_samples`: the images of a record.
- `bfloat16`: a quicker decoder for a preview.
"""
