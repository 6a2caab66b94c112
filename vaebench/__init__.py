"""Autoencoders compared honestly: one protocol, one set of bounds, one command a table.

Nothing heavy is imported here: `vaebench --help`, tables and configuration errors never wait for torch.
"""

from vaebench.data import torchvision_ops

__version__ = "0.1.0"

torchvision_ops.install()
