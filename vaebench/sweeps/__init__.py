"""Many runs: what is left to do, who does it, and how far it is.

- `sweep`: executes the runs of a study that have no record yet. `packs`: which runs train together. `run`: from a run
  to its record. `engines`: where packs are executed.
- Before: `preflight` finds faults and says what a sweep would do, `forecast` what the data says.
- Meanwhile: `progress` says and shows how far a sweep is. `status` reads from the folder which runs are
  finished, and which came from overrides.
- Afterwards: `meanings` explains the numbers. `trained` finds a trained model and measures it again, `export` writes it
  for other programs, `audit` measures a foreign one.
"""
