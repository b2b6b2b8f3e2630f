"""Whether a computation leaves its cores to others while its threads wait."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from C2SCore.threads import SPINS

WAYS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
COMMAND = "from C2SCore import cli; cli.main(['models', 'list'])"
# Without serving: at the end of its input, a worker ends its process at once.
WORKER = "from C2SCore import worker; worker.serve = len; worker.main()"


@pytest.mark.parametrize("entry", [COMMAND, WORKER])
@pytest.mark.parametrize(
    ("chosen", "expected"), [({}, SPINS), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)]
)
def test_waiting_threads_give_way_unless_the_user_decided(entry: str, chosen: dict[str, str], expected: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in WAYS} | chosen
    code = f"import os, sys; {entry}; print(os.environ.get('GOMP_SPINCOUNT'), file=sys.stderr)"
    line = [sys.executable, "-c", code]
    ended = subprocess.run(line, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=True)
    assert ended.stderr.split()[-1] == str(expected)
