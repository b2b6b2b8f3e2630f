"""The `c2s` command in the process of the tests."""

from __future__ import annotations

from C2SCore import cli


def c2s(*arguments: object) -> int:
    """Runs a command in this process; argparse's own exit counts as its code."""
    try:
        return cli.main([str(a) for a in arguments])
    except SystemExit as end:
        return int(end.code or 0)
