"""Records → CSV, Markdown and LaTeX, a function of the records alone; nothing here imports torch.

`quantities` are the columns, `grouping` and `labels` make the rows, `blocks` keep apart what does not compare, `table`
is all of it; `sheets` lay it out, `rendering` and `latex` write it down.
"""
