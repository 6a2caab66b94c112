"""The command line, called in this process."""

from typer.testing import CliRunner

from vaebench.__main__ import app


def vaebench(*arguments: str, status: int = 0, columns: int = 200) -> str:
    """What a command prints. It must end with this status; an error that it does not report is raised."""
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": str(columns)})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result.output
