"""From records to tables, figures, pages, W&B and the terminal. Nothing here imports torch.

- `tables`: CSV, Markdown and LaTeX. `figures`: each chart, drawn once. `page`: one HTML page a study.
- `answers`: the answer of a study, with its numbers filled in. `ledger`: published numbers judged.
- `terminal`: one run, a sweep or a comparison as text. `wandb`: the same for Weights & Biases.
- `select`: what a word on the command line names. `paired`: two configurations, paired by seed.
- `publish`: new results beside the published ones, and in their place.
"""
