"""From a data set to batches on the device.

- `datasets`: one file a family of data sets. `binarization`: from grey levels to pixels.
- `datamodule`: the data module that all models share. `loaders`: what a batch is, and batches by index.
- `import_hook`: loads some libraries in another way. `late_packages` and `late_compiler` make the start quick, and
  `torchvision_ops` is for a torchvision without its operators.
"""
