"""From a study's YAML file to its runs, checked before anything heavy is imported.

`loading` finds a study and reads it in four steps. `yaml_document` parses the text and knows the line of every key.
`grid` forms the axes, those of the command line among them, and gives each fault its line. `key_types` says what each
key may be, read from the annotations of constructors by `signature` and `registry`. `validation` checks one run with
it, then one part of a run against another. The result is a `study`; `schema` is the same description for an editor.
`faults` is what is wrong with a study, and where.

`imports` reads components from your own files, `presentation` is what a study says of its pages, and `seeding` makes
the random streams of a run.
"""

from vaebench.config.faults import ConfigError, Refused
from vaebench.config.loading import load
from vaebench.config.study import EarlyStopping, Evaluate, Run, Study, Train

load_study = load  # `load` by the name under which the package exports it; `vaebench.load` reads a trained model

__all__ = ["ConfigError", "EarlyStopping", "Evaluate", "Refused", "Run", "Study", "Train", "load", "load_study"]
