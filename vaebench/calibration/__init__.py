"""Calibrate every metric and estimator against exact answers.

- `toy_cases`: inputs whose answers follow by counting or from a short formula.
- `linear_cases`: linear VAEs with known parameters, whose numbers have closed forms.
- `model_cases`: other models whose parameters are set so that their numbers have closed forms.
- `calibrate`: all of these, whether claimed errors are as large as the spread over seeds, and the runs of a study.
- `measurements`: what the ledger of published numbers needs besides trained runs, e.g. scores of codes made by hand.
- `grade`: one comparison with an exact answer, and the tables of all of them.
"""
