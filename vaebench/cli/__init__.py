"""The commands, one function each. A command that needs torch imports it inside the function.

- `train`: sweep, train, status. `measure`: evaluate, calibrate, measure, audit, forecast.
- `models`: sample, encode, reconstruct, interpolate, score, export.
- `results`: show, compare, table, report, ledger, publish, dashboard.
- `components`: list, init, new (which copies the files of `starters`), schema, doctor.
- `arguments`: what several commands take. `terminal`: how text and errors are printed.
"""
