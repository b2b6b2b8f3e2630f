"""Training curves as Slicer plots."""

from __future__ import annotations

import numpy as np
import slicer

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
    curves.clear()
    assert curves.chart is None and slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLPlotChartNode") == 0
