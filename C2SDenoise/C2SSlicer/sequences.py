"""Time series: the frames of a sequence as volumes, and a result that plays along with its source."""

from __future__ import annotations

import slicer

MADE = "C2SDenoise.Frames"  # attribute of the sequences that are made here


def sequence_of(volume):
    """(browser, sequence) of which this volume is the visible frame; (None, None) for an ordinary volume."""
    if volume is None:
        return None, None
    for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode"):
        sequence = browser.GetSequenceNode(volume)
        if sequence is not None and sequence.GetNumberOfDataNodes() > 0:
            return browser, sequence
    return None, None


def number_of_frames(volume) -> int:
    """Frames of the sequence that this volume shows; 1 for an ordinary volume."""
    sequence = sequence_of(volume)[1]
    return 1 if sequence is None else sequence.GetNumberOfDataNodes()


def frame(volume, index: int):
    """Data node of one frame (not in the scene); the volume itself if it is not part of a sequence."""
    sequence = sequence_of(volume)[1]
    return volume if sequence is None else sequence.GetNthDataNode(index)


def shown_index(volume) -> str:
    """Index value of the frame that this volume shows at present; empty for an ordinary volume."""
    browser = sequence_of(volume)[0]
    if browser is None:
        return ""
    number = max(0, browser.GetSelectedItemNumber())  # -1, nothing selected yet: the first is shown
    return browser.GetMasterSequenceNode().GetNthIndexValue(number)


def number_at(volume, index: str) -> int:
    """Number of the frame with this index value, from 1, as Slicer's browser counts; 0 if there is none."""
    sequence = sequence_of(volume)[1]
    return 0 if sequence is None else sequence.GetItemNumberFromIndexValue(index) + 1


def frame_at(volume, index: str):
    """Data node of the frame with this index value, None if there is none; the volume itself for no index."""
    if not index:
        return volume
    sequence = sequence_of(volume)[1]
    return None if sequence is None else sequence.GetDataNodeAtValue(index)


def replaceable(volume, source_volume) -> bool:
    """Whether what `volume` shows is a result that plays along with `source_volume`: another may take its place."""
    browser, sequence = sequence_of(volume)
    return sequence is not None and browser is sequence_of(source_volume)[0] and sequence.GetAttribute(MADE) is not None


def empty_sequence(proxy, source_volume):
    """An empty sequence for `proxy`, with the index of the one that `source_volume` shows.

    It is that of a result before, if there is one: with two, the volume would be taken for a frame of the older.
    """
    if replaceable(proxy, source_volume):
        sequence = sequence_of(proxy)[1]
        sequence.RemoveAllDataNodes()
        return sequence
    source, name = sequence_of(source_volume)[1], slicer.mrmlScene.GenerateUniqueName(proxy.GetName())
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    sequence.SetAttribute(MADE, "true")
    sequence.SetIndexName(source.GetIndexName())
    sequence.SetIndexUnit(source.GetIndexUnit())
    sequence.SetIndexType(source.GetIndexType())
    return sequence


def add_frame(sequence, source_volume, index: int, node) -> None:
    """Store a copy of `node` as frame `index`, at the index value of the source's frame."""
    sequence.SetDataNodeAtValue(node, sequence_of(source_volume)[1].GetNthIndexValue(index))


def play_along(sequence, source_volume, proxy) -> None:
    """Let `proxy` show the frame of `sequence` that belongs to the frame that `source_volume` shows, from now on."""
    browser = sequence_of(source_volume)[0]
    browser.AddProxyNode(proxy, sequence, False)
    browser.SetSaveChanges(sequence, False)
