"""The command line's verbs, one function each, by what they do. torch is imported inside a verb, and only by some."""
