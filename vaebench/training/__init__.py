"""Runs trained: together as one program where that can be, else each by itself; stopped anywhere, they go on.

- `fitting`: runs, to their trained models; `alone`: one by itself, on one device or several.
- `trainers`: Lightning's Trainer as every run has it; `curve`: what it hears while it trains.
- `snapshots`: what a run goes on from; `memory`: what a pack needs, and what there is.
"""
