"""Records → CSV, Markdown and LaTeX, a function of the records alone; nothing here imports torch.

`quantities` are the columns, as the records describe them. `labels` and `rows` make the rows, and keep apart what does
not compare. `table` is all of it; `layout` arranges it, `rendering` writes it, with texts made safe by `escaping`.
"""
