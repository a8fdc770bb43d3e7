"""The command line."""

from paretomtl.cli.commands import main

__all__ = ["main"]
