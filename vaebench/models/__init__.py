"""The models: one objective a file.

- `base`: what every model is. `epoch`: what a training epoch is. `draws`: what a model gives to an evaluation.
- `parts`: networks, likelihoods, priors, posteriors, schedules and corruptions.
- Without a distribution of the code: `ae`, `denoising_ae`, `contractive_ae`, `stacked_ae`, `sparse_ae`.
- With one: `vae`, `beta_vae`, `iwae`, `hierarchical_vae`, `augmented_flow`, and against collapse `free_bits_vae`,
  `minimum_rate_vae` and `aggressive_vae`. With closed forms: `linear_vae`, `ppca`.
- `subject`: a model made elsewhere. `pythae_folder`: one that pythae saved.
- `using`: sample, reconstruct and interpolate, and plain loaders in a Trainer.
"""
