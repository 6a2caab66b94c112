"""Calibrate every metric and estimator against exact answers.

- `toy_cases`: inputs whose answers follow by counting or from a short formula.
- `linear_cases`: linear VAEs with known parameters, whose numbers have closed forms.
- `coverage`: whether the errors that estimates claim are as large as the spread over seeds.
- `calibrate`: all of these, and the trained runs of a study.
- `model_cases`, `truth_cases`: models whose parameters are set so that their numbers have closed forms.
- `measurements`: what the ledger of published numbers needs besides trained runs, e.g. scores of codes made by hand.
  `autoencoder_identities`: what linear autoencoders learn, and what contraction penalises.
- `grade`: one comparison with an exact answer, and the tables of all of them.
"""
