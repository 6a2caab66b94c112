"""A study's YAML file → the runs it asks for, checked before anything heavy is imported.

`loading` reads the file (`lines` knows where everything stands), spans its `grid` and lays `overrides` over it; `study`
is what comes out. What a run may say is derived (`derivation`) from the constructors' `annotations`, with `crosschecks`
of one part against another; `schema` is the same for an editor.
"""

from vaebench.config.loading import load
from vaebench.config.study import ConfigError, Evaluate, Refused, Run, Study, Train

__all__ = ["ConfigError", "Evaluate", "Refused", "Run", "Study", "Train", "load"]
