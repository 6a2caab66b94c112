"""Records → CSV, Markdown and LaTeX, a function of the records alone; nothing here imports torch.

`quantities` are the columns, as the records describe them. `table` makes the rows, which `labels` name, and keeps apart
what does not compare, by `intervals`. `layout` arranges it, `rendering` writes it, with texts made safe by `escaping`.
"""
