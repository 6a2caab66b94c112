"""From a data set to batches on the device.

- `datasets`: one file a family of data sets. `binarization`: from grey levels to pixels.
- `datamodule`: the data module that all models share. `loaders`: what a batch is, and batches by index.
- Import hooks: `late_packages` and `late_compiler` for a quick start, `torchvision_ops` for a torchvision without its
  operators.
"""
