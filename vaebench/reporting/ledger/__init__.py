"""Published numbers beside measured ones: `claims` are read from a file, `evidence` from records, and then judged.

`verdict` compares the two and `rendering` writes the ledger. Nothing here trains, and nothing imports torch.
"""
