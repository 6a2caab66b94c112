"""The option `--import` of every verb."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

OPTION = Annotated[
    list[str] | None,
    typer.Option(
        "--import", metavar="FILE", help="A file (mine.py) or module with further components; may be repeated."
    ),
]


def with_imports(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option `--import`. What it names is read before the command, and executed when it is used."""

    @wraps(command)
    def wrapped(*args: Any, import_: list[str] | None = None, **kwargs: Any) -> None:
        from vaebench.config import imports

        imports.give(import_ or [])
        command(*args, **kwargs)

    own = inspect.signature(command)
    option = inspect.Parameter("import_", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=OPTION)
    wrapped.__signature__ = own.replace(parameters=[*own.parameters.values(), option])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {**command.__annotations__, "import_": OPTION}
    return wrapped
