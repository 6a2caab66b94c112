"""What is kept of a run, and how it proves that it is intact. Nothing here imports torch.

- `record`: a run's record, and the checks of its content. `checksums`: that no byte of it has changed.
- `description`: how a number is shown: its heading, its place, its unit, and whether more of it is better.
  Also how reliable the importance weights behind it are, and what records of earlier formats do not say themselves.
- `files`: the names of a run's files, and how they are written at once or not at all.
- `arrays`: arrays in files, read safely; the images that a trained model made.
- `provenance`: code, libraries and machine. `collection`: making many objects at once.
"""
