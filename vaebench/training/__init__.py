"""Train runs: together as one program if that is possible, else one by one. A run that was stopped continues.

- `step`: one training step in 25 plain lines; `vaebench.models.epoch` says what an epoch is.
- `fit`: from runs to trained models. `single`: one run by itself, on one device or on several.
- `packed`: many runs as one program.
- `optimizers`: torch's, alone and in a pack. `rates`: the learning rate in stages. `stopping`: early stopping.
- `trainer`: Lightning's Trainer as every run uses it. `curve`: what it logs. `signals`: how Ctrl-C and SIGTERM wait.
- `resume`: the files from which a stopped run continues. `memory`: how much a pack needs, and how much there is.
"""
