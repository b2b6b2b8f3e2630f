"""The messages: what is sent arrives as it was; what cannot be read does no harm."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from C2SCore import events

EXAMPLES = [
    events.DenoiseJob(
        "1", "a b.npy", "ö.npy", auxiliary=("c.npy", "d.npy"), sigma=3, noise="rician", uncertainty="u.npy"
    ),
    events.DenoiseJob("1", "a.npy", "b.npy", sigma="map.npy"),
    events.TrainJob(
        "2", "m.safetensors", ({"target": "a.npy", "auxiliary": ["b.npy"]},), "quick", {"steps": 10}, resume=True
    ),
    events.NoiseJob("3", "a.npy"),
    events.EvidenceJob("4", "a.npy", "b.npy", 1.5, "r.npy"),
    events.InspectJob("5", ("x.nii.gz", "y"), "thumbs"),
    events.EstimateJob("e", {"steps": 3}, 2, "cpu"),
    events.ReportJob(
        "r", "m.safetensors", "report.html", ({"target": "a.npy"},), ({"step": 1, "loss": 0.5},), "", "cpu"
    ),
    events.CheckJob("6"),
    events.CancelJob("6"),
    events.PauseJob("6", False),
    events.Started(12, versions={"torch": "2"}),
    events.Progress("6", "Denoising", 3, 9, 1.25, "cpu"),
    events.Progress("6", "Denoising"),
    events.Preview("p.npy", 5, "scan", "6"),
    events.Curve(10, {"loss": 0.5}, "6"),
    events.Inspected("5", "x", "x", (2, 3, 4), 5, 1.0, 8.0, "x.png"),
    events.Done("1", {"output": "b.npy"}, {"sigma": 1.0, "nested": {"a": [1, 2]}}, ("careful",)),
    events.Failed("1", "what", "do", "where"),
    events.Cancelled("1"),
    events.Log("näive\ttext"),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda m: type(m).__name__)
def test_round_trip(message):
    line = events.encode(message)
    assert "\n" not in line and line.isascii()
    assert events.decode(line + "\r\n") == message
    assert events.decode(line.encode()) == message


def test_every_type_of_message_has_an_example():
    kinds = {k for k in vars(events).values() if dataclasses.is_dataclass(k)}
    assert kinds == {type(m) for m in EXAMPLES}


def test_a_later_version_with_further_fields_is_understood():
    content = json.loads(events.encode(events.Curve(3, {"loss": 1.0}, "7")))
    assert content["v"] == events.PROTOCOL
    content.update(v=events.PROTOCOL + 1, memory=12, colour={"r": 1})
    assert events.decode(json.dumps(content)) == events.Curve(3, {"loss": 1.0}, "7")


def test_missing_fields_take_their_defaults_but_needed_ones_are_needed():
    assert events.decode('{"type": "Progress", "job": "1", "stage": "x"}') == events.Progress("1", "x")
    assert isinstance(events.decode('{"type": "Progress", "job": "1"}'), events.Log)


@pytest.mark.parametrize(
    "line",
    [
        "loading weights…",
        '{"type": "Progress", "job": "1", "st',
        "[1, 2]",
        '{"a": ' + 100_000 * "[",
        "17",
        '{"type": "Future", "job": "1"}',
        '{"type": ["Done"]}',
        '{"type": "Progress", "job": 1, "stage": "x"}',
        '{"type": "Progress", "job": "1", "stage": "x", "done": true}',
        '{"type": "Curve", "step": 1.5}',
        "",
    ],
)
def test_anything_else_is_a_line_of_log(line):
    assert events.decode(line) == events.Log(line)


def test_bytes_that_are_not_utf8_are_a_line_of_log():
    assert events.decode(b"caf\xe9\n") == events.Log("caf\ufffd")


def test_numbers_of_numpy_travel_and_those_json_lacks_become_none():
    numbers = {
        "sigma": np.float32(0.5),
        "n": np.int64(3),
        "acf": np.array([0.25, 0.5]),
        "psnr": float("inf"),
        "x": np.float64("nan"),
    }
    got = events.decode(events.encode(events.Done("1", numbers=numbers)))
    assert got.numbers == {"sigma": 0.5, "n": 3, "acf": [0.25, 0.5], "psnr": None, "x": None}


def test_import_is_light():
    """Slicer reads this file at start-up: no numpy, no torch, and quick."""
    code = (
        "import time; t = time.perf_counter(); import C2SCore.events; t = time.perf_counter() - t; import sys; "
        "print(t, *(m for m in ('numpy', 'torch', 'yaml') if m in sys.modules))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(3)
    ]
    print("import of C2SCore.events, seconds:", [r[0] for r in runs])
    assert all(len(r) == 1 for r in runs), runs
    assert min(float(r[0]) for r in runs) < 0.2
