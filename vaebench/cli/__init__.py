"""The commands, one function each. A command that needs torch imports it inside the function.

- `work`: sweep, train, evaluate, calibrate. `use`: sample, encode, reconstruct, score, export. `forecast`: forecast.
- `look`: show, compare, status. `write`: table, report, ledger, publish, dashboard. `about`: list, doctor, init, new.
- `arguments`: what several commands take. `terminal`: how text and errors are printed.
- `catalogue`: what a YAML file may name. `doctor_checks`: what this installation has. `starters`: the files
  that `new` writes.
"""
