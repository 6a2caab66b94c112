"""Train runs: together as one program if that is possible, else one by one. A run that was stopped continues.

- `step`: one training step in 25 plain lines; `vaebench.models.epoch` says what an epoch is.
- `fit`: from runs to trained models. `packed`: how runs usually train, many or one as one program. `outside_pack`: a
  run that has several devices or early stopping, or whose model cannot be stacked.
- `optimizers`: torch's, for one model and for a pack. `callbacks`: the numbers of a curve, the learning rate in stages,
  early stopping, and pictures of a few epochs. `loggers`: the curve, CSV and TensorBoard.
- `trainer`: Lightning's Trainer as every run uses it. `signals`: how Ctrl-C and SIGTERM wait.
- `checkpoints`: the files of a trained model, and the snapshot from which a stopped run continues. `resume`: when a
  snapshot is written, and whether it fits the run.
- `memory`: how much a pack needs, and how much there is.
"""
