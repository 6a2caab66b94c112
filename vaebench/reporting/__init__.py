"""From records to tables, figures, pages, W&B and the terminal. Nothing here imports torch.

- `tables`: CSV, Markdown and LaTeX. `figures`: each chart, drawn once. `page`: one HTML page a study.
- `ledger`: published numbers judged. `wandb`: runs, sweeps and dashboards for Weights & Biases.
- `answer`: what the numbers say, in sentences. `terminal`: one run, a comparison or the headline of a sweep as text.
- `printing`: a console that prints text as it is.
- `select`: what a word on the command line names.
- `comparison`: two configurations, paired by seed; new results beside the published ones, and in their place.
"""
