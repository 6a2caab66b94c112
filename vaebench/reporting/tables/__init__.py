"""Records → CSV, Markdown and LaTeX, a function of the records alone; nothing here imports torch.

`quantities` are the columns, as the records describe them. `grouping` and `labels` make the rows. `rankings` keeps
apart what does not compare. `table` is all of it; `layout` arranges it, `rendering` and `latex` write it.
"""
