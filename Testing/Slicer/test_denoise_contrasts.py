"""Further contrasts in C2S Denoise: in the order of the model, and never the input itself."""

from __future__ import annotations

import numpy as np
import slicer
from scenes import OBLIQUE, add_volume, apply, open_panel, phantom, voxels

from C2SSlicer import volumes


def test_two_contrasts(bench):
    """The second contrast lies on another grid under a transform, and changes the result."""
    source = add_volume(matrix=OBLIQUE)
    shifted = OBLIQUE.copy()
    shifted[:3, 3] += OBLIQUE[:3, 0]
    other = add_volume("FLAIR", phantom(seed=5), shifted)
    widget = open_panel(bench, "tiny pair")
    widget._parameterNode.inputVolume = source
    assert "Needs FLAIR" in widget.ui.modelSummaryLabel.text
    run_without = None
    bench.click(widget.ui.applyButton)
    assert "0 other contrasts" in widget.ui.statusLabel.text and widget.panel.run is run_without
    import qt

    widget.ui.contrastSelector.setCheckState(other, qt.Qt.Checked)
    bench.process_events()
    assert [n.GetName() for n in widget._parameterNode.otherContrasts] == ["FLAIR"]
    first = apply(bench, widget)
    assert volumes.facts_of(first.result.volume)["OtherContrasts"] == "FLAIR"
    values = voxels(first.result.volume).copy()
    slicer.util.updateVolumeFromArray(other, phantom(seed=6) * 0.1)
    second = apply(bench, widget)
    assert not np.allclose(values, voxels(second.result.volume), atol=1e-3)


def test_other_contrasts_come_in_the_order_of_the_model(bench):
    from C2SCore.card import Card
    from C2SSlicer.request import Request, node_ids

    source, t2, flair, odd = (add_volume(name) for name in ("p1_T1W", "p1_T2W", "p1_FLAIR", "odd"))
    card = Card(name="three", auxiliary=("FLAIR", "T2w"))
    asked = Request(source.GetID(), auxiliary=node_ids((t2, flair)))
    assert asked.in_order_of(card).auxiliary == node_ids((flair, t2))
    unclear = Request(source.GetID(), auxiliary=node_ids((t2, odd)))
    assert unclear.in_order_of(card) == unclear


def test_the_input_as_its_own_helper_is_refused(bench):
    add_volume()
    widget = open_panel(bench, "tiny pair")
    widget._parameterNode.otherContrasts = [widget._parameterNode.inputVolume]
    bench.click(widget.ui.applyButton)
    assert "cannot help itself" in widget.ui.statusLabel.text
