"""Every instrument against an exact answer, before it measures anything unknown.

`answers` has what a linear VAE must come to, from its parameters alone; `known` are linear VAEs set by hand or by the
oracle, `by_hand` cases without a model; `coverage` holds claimed errors against the spread over seeds;
`calibrate` measures them, and the trained runs of a study; a `grade` is one line of the table.
"""
