"""Curves and pictures of a training in Slicer's views."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from trainscenes import MODULE

from C2SSlicer.plots import Curves


def test_curves_grow_in_place(bench):
    curves = Curves("Training", ("loss", "validation"))
    assert curves.draw() is None
    curves.add(10, {"loss": 2.0})
    curves.add(10, {"validation": 3.0})
    curves.add(20, {"loss": 1.0, "validation": None})
    chart = curves.draw()
    assert np.array_equal(curves.array(), [[10, 2, 3], [20, 1, np.nan]], equal_nan=True)
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    curves.add(30, {"loss": 0.5, "validation": 2.5})
    assert curves.draw() is chart and slicer.mrmlScene.GetNumberOfNodes() == nodes
    assert chart.GetTitle() == "Training" and chart.GetNumberOfPlotSeriesNodes() == 2
    table = chart.GetNthPlotSeriesNode(0).GetTableNode()
    assert table.GetNumberOfRows() == 3
    assert not any(node.GetSaveWithScene() for node in (chart, table, chart.GetNthPlotSeriesNode(0)))
    curves.clear()
    assert curves.chart is None and slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLPlotChartNode") == 0


def test_curves_come_back_after_one_of_their_nodes_was_removed(bench):
    """As in the module Data, by somebody who tidies up while a training goes on."""
    curves = Curves("Training", ("loss",))
    for step, name in enumerate(("vtkMRMLTableNode", "vtkMRMLPlotSeriesNode", "vtkMRMLPlotChartNode"), 1):
        curves.add(step, {"loss": 2.0})
        curves.draw()
        slicer.mrmlScene.RemoveNode(slicer.util.getNodesByClass(name)[-1])
        chart = curves.draw()
        assert slicer.mrmlScene.IsNodePresent(chart)
        assert chart.GetNthPlotSeriesNode(0).GetTableNode().GetNumberOfRows() == step
        assert len(slicer.util.getNodesByClass("vtkMRMLPlotChartNode")) == 1


def test_pictures_of_a_training_are_hidden_from_lists(bench, tmp_path):
    """From the first moment: the subject hierarchy looks at a volume once, when it is added."""
    bench.load_module(MODULE)
    from C2STrainSlicer.monitor import Monitor

    seen = []

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def added(caller, event, node) -> None:
        if node.IsA("vtkMRMLVolumeNode"):
            seen.append(bool(node.GetHideFromEditors()))

    slicer.mrmlScene.AddObserver(slicer.mrmlScene.NodeAddedEvent, added)
    monitor, file = Monitor(), tmp_path / "preview.npy"
    np.save(file, np.random.default_rng(0).standard_normal((3, 8, 6)).astype(np.float32))
    monitor.update([], str(file), 1)
    pictures = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    assert seen == [True] * 3 and [hierarchy.GetItemByDataNode(node) for node in pictures] == [0] * 3
    assert not any(node.GetSaveWithScene() for node in pictures)
    assert [slicer.util.arrayFromVolume(node).shape for node in pictures] == [(1, 8, 6)] * 3
    assert not any(node.GetDisplayNode().GetSaveWithScene() for node in pictures)
    monitor.clear()
    assert not slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
