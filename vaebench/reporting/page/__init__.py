"""Records → one HTML page a study, which loads nothing; a function of the records and the study's question.

`answer` says what the numbers say, `figures` draws what they hold, `provenance` where they come from; `page` is all of
it, `index` a page over the pages. Nothing here imports torch.
"""
