"""Records in a terminal: `run` shows one, `versus` sets two configurations side by side; nothing here imports torch."""
