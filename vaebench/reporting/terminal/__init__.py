"""Records in a terminal: one run, two configurations side by side, and estimates of a run that is measured again."""
