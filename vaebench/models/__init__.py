"""The models: one objective a file, or one family of objectives.

- `base`: what every model is. `epoch`: what a training epoch is. `draws`: what a model gives to an evaluation.
- `parts`: networks, likelihoods, priors, posteriors, schedules and corruptions.
- A code without a distribution: `ae` (plain, denoising, contractive, sparse), `stacked_ae`.
- A code with one: `vae`, `beta_vae` (with free bits and a minimum rate), `iwae`, `hierarchical_vae`, `augmented_flow`,
  `aggressive_vae`. With closed forms: `linear_vae`, probabilistic PCA beside it.
- `subject`: a model made elsewhere. `pythae_folder`: one that pythae saved.
- `using`: sample, reconstruct and interpolate, and plain loaders in a Trainer.
"""
