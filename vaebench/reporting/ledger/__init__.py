"""Published numbers beside measured ones: `claims` are read from a file, and judged from the records by `verdict`.

`rendering` writes the ledger. Nothing here trains, and nothing imports torch.
"""
