"""Voxels to the worker and back: complete, in pieces, and never torn."""

from __future__ import annotations

import time

import numpy as np
import pytest
import slicer
from scenes import add_volume

from C2SCore.errors import UserError
from C2SSlicer import handover, job
from C2SSlicer.pieces import BUDGET, Pieces


def all_of(work) -> int:
    return sum(1 for _ in work)


@pytest.mark.parametrize("kind", [np.int16, np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 700, 600), (40, 130, 110)])
def test_a_volume_of_any_type_arrives_as_float(bench, tmp_path, kind, shape):
    voxels = (np.random.default_rng(0).random(shape) * 200).astype(kind)
    copy = np.empty(shape, np.float32)
    pieces = all_of(handover.save(add_volume(voxels=voxels), tmp_path / "a.npy", copy))
    expected = voxels.astype(np.float32)
    assert np.array_equal(np.load(tmp_path / "a.npy"), expected) and np.array_equal(copy, expected)
    assert pieces >= voxels.size // (2 * handover.PIECE)
    back = np.full(shape, np.nan, np.float32)
    assert all_of(handover.load(tmp_path / "a.npy", back)) == pieces and np.array_equal(back, expected)


def test_a_volume_that_changes_meanwhile_is_refused(bench, tmp_path):
    volume = add_volume(voxels=np.zeros((9, 512, 512), np.float32))
    work = handover.save(volume, tmp_path / "a.npy")
    next(work)
    slicer.util.arrayFromVolume(volume)[0, 0, 0] = 1
    slicer.util.arrayFromVolumeModified(volume)
    with pytest.raises(UserError, match="changed while"):
        all_of(work)
    work = handover.save(volume, tmp_path / "a.npy")
    next(work)
    slicer.util.updateVolumeFromArray(volume, np.ones((2, 3, 4), np.float32))
    with pytest.raises(UserError, match="changed while"):
        all_of(work)


def test_a_file_of_another_kind_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 3, 4), np.float32))
    for other in (np.empty((2, 3, 5), np.float32), np.empty((2, 3, 4), np.float64)):
        with pytest.raises(ValueError, match="expected"):
            all_of(handover.load(tmp_path / "a.npy", other))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-4])
    with pytest.raises(ValueError, match="cut short"):
        all_of(handover.load(tmp_path / "a.npy", np.empty((2, 3, 4), np.float32)))


def test_an_image_of_its_own_belongs_to_the_scene_once_it_is_set(bench):
    from C2SSlicer import volumes

    volume = add_volume(voxels=np.zeros((2, 2, 2), np.int16))
    image, voxels = handover.empty_image((4, 6, 5))
    voxels[:] = np.arange(120, dtype=np.float32).reshape(4, 6, 5)
    events = []
    volume.AddObserver(volume.ImageDataModifiedEvent, lambda caller, event: events.append(event))
    volumes.set_image(volume, image)
    del image, voxels
    assert np.array_equal(slicer.util.arrayFromVolume(volume).ravel(), np.arange(120)) and len(events) == 1


def longest_poll(worker: job.Worker) -> float:
    """Milliseconds of our own work in the longest poll until nothing is left to do."""
    longest = 0.0
    while worker.busy:
        began = time.thread_time()
        worker.poll()
        longest = max(longest, time.thread_time() - began)
    return 1000 * longest


def test_a_large_volume_freezes_nothing(bench, tmp_path):
    """16 million voxels, out and back; each poll stays within the time in which a window still answers."""
    volume = add_volume(voxels=np.ones((64, 512, 512), np.int16))
    worker, ended, copy = job.Worker(), [], np.empty((64, 512, 512), np.float32)
    Pieces(worker, handover.save(volume, tmp_path / "a.npy", copy), lambda: ended.append("saved"), ended.append)
    out = longest_poll(worker)
    work = (None for _ in handover.load(tmp_path / "a.npy", np.empty_like(copy)))
    Pieces(worker, work, lambda: ended.append("loaded"), ended.append)
    back = longest_poll(worker)
    print(f"longest poll: {out:.0f} ms out, {back:.0f} ms back")
    assert ended == ["saved", "loaded"] and max(out, back) < 50


def test_pieces_are_cancelled_and_their_failures_told():
    worker, seen = job.Worker(), []

    def work():
        for n in range(5):
            seen.append(n)
            time.sleep(2 * BUDGET)
            yield

    pieces = Pieces(worker, work(), lambda: seen.append("then"), lambda error: seen.append("failed"))
    worker.poll()
    pieces.cancel()
    while worker.busy:
        worker.poll()
    assert seen == [0]

    def fault():
        yield
        raise OSError("no space")

    Pieces(worker, fault(), lambda: seen.append("then"), lambda error: seen.append(str(error)))
    Pieces(worker, iter(()), lambda: 1 / 0, lambda error: seen.append(type(error)))
    while worker.busy:
        worker.poll()
    assert seen == [0, "no space", ZeroDivisionError]
