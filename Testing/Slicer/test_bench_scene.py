"""The bench around the scene: selectors, views, files, and the life of a module."""

from __future__ import annotations

import numpy as np
import pytest
from Bench.samples import ramp_volume

# Node selectors, scene, views


def test_checkable_selector(bench):
    import qt
    import slicer

    box, changes = slicer.qMRMLCheckableNodeComboBox(), []
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    box.setMRMLScene(slicer.mrmlScene)
    assert box.connect("checkedNodesChanged()", lambda: changes.append(1))
    first, second = ramp_volume("first"), ramp_volume("second")
    assert box.nodeCount() == 2 and box.checkedNodes() == ()
    box.setCheckState(second, qt.Qt.Checked)
    assert box.checkedNodes() == (second,) and changes == [1]
    slicer.mrmlScene.RemoveNode(second)
    assert box.checkedNodes() == () and box.nodeCount() == 1 and first


def test_selector_options_and_new_nodes(bench):
    import slicer

    box, made = slicer.qMRMLNodeComboBox(), []
    box.nodeTypes, box.noneEnabled, box.showChildNodeTypes = ["vtkMRMLScalarVolumeNode"], True, False
    box.baseName = "Result"
    box.nodeAddedByUser.connect(made.append)
    box.setMRMLScene(slicer.mrmlScene)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    assert box.nodeCount() == 0 and box.currentNode() is None
    node = bench.open_node_menu(box)
    assert box.currentNode() is node and node.GetName() == "Result" and made == [node]
    node.SetName("Renamed")
    assert box.currentNodeID == node.GetID()


def test_subject_hierarchy_has_items(bench):
    import slicer

    node = ramp_volume("scan")
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(node)
    assert item > 0
    slicer.mrmlScene.RemoveNode(node)
    assert hierarchy.GetItemName(item) == ""


def test_layouts_make_views_and_linked_views_follow(bench):
    import slicer

    views = "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag="{name}"><property name="orientation" action="default">'
        "Axial</property></view></item>"
        for name in ("Before", "After")
    )
    manager = slicer.app.layoutManager()
    node, before = manager.layoutLogic().GetLayoutNode(), manager.layout
    node.AddLayoutDescription(501, f'<layout type="horizontal">{views}</layout>')
    scan = ramp_volume("scan")
    manager.setLayout(501)
    assert manager.sliceViewNames() == ("Before", "After")
    slicer.util.setSliceViewerLayers(background=scan, fit=True)
    logics = [manager.sliceWidget(name).sliceLogic() for name in ("Before", "After")]
    for logic in logics:
        logic.GetSliceCompositeNode().SetLinkedControl(True)
        logic.GetSliceCompositeNode().SetHotLinkedControl(True)
    logics[0].StartSliceOffsetInteraction()
    logics[0].SetSliceOffset(2)
    logics[0].EndSliceOffsetInteraction()
    assert logics[1].GetSliceOffset() == 2
    picture = bench.slice_picture("After", (80, 60))
    assert picture.shape == (60, 80, 4) and picture[..., 0].max() > 100
    assert not manager.sliceWidget("After").sliceView().grab().isNull()
    manager.layout = before
    assert manager.sliceViewNames() == ("Red", "Green", "Yellow")


def test_a_malformed_layout_is_a_fault(bench):
    import slicer

    node = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
    node.AddLayoutDescription(502, "<layout><item>")
    node.SetViewArrangement(502)
    bench.expect_fault("not well-formed")


def test_pictures_show_orientation(bench):
    """The brightest row of an axial slice, the most posterior, is at the bottom."""
    import slicer

    scan = ramp_volume("scan", (1, 40, 40))
    matrix = slicer.util.vtkMatrixFromArray(np.diag([-1.0, -1.0, 1.0, 1.0]))
    scan.SetIJKToRASMatrix(matrix)
    slicer.util.setSliceViewerLayers(background=scan, fit=True)
    picture = bench.slice_picture("Red", (80, 80))[..., 0].astype(int)
    assert picture[-20:].mean() > picture[:20].mean() + 50


def test_sequences_have_the_real_logic(bench):
    import slicer

    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode")
    for index in range(3):
        frame = ramp_volume(f"frame {index}", maximum=index + 1)
        sequence.SetDataNodeAtValue(frame, str(index))
        slicer.mrmlScene.RemoveNode(frame)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    logic = slicer.modules.sequences.logic()
    logic.UpdateProxyNodesFromSequences(browser)
    proxy = browser.GetProxyNode(sequence)
    assert logic.GetFirstBrowserNodeForProxyNode(proxy) is browser
    browser.SetSelectedItemNumber(2)
    assert slicer.util.arrayFromVolume(proxy).max() == 3


def test_volumes_are_loaded_and_saved(bench, tmp_path):
    import slicer

    assert slicer.util.saveNode(ramp_volume("scan"), str(tmp_path / "scan ü.nrrd"))
    loaded = slicer.util.loadVolume(str(tmp_path / "scan ü.nrrd"))
    assert slicer.util.arrayFromVolume(loaded).max() == 100
    with pytest.raises(RuntimeError):
        slicer.util.loadVolume(str(tmp_path / "absent.nrrd"))


def test_without_main_window_there_are_no_views(headless_bench):
    import slicer

    assert slicer.util.mainWindow() is None and slicer.app.layoutManager() is None
    assert ramp_volume("scan").GetDisplayNode()


# Modules

MODULE = """
import qt, slicer
from slicer.ScriptedLoadableModule import *
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

class Tiny(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Tiny")
        parent.categories = ["Filtering"]

class TinyWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.log = []

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.button = qt.QPushButton("Apply")
        self.layout.addWidget(self.button)
        self.button.connect("clicked(bool)", lambda: self.log.append("click"))

    def enter(self):
        self.log.append(f"enter {self.parent.isEntered}")

    def exit(self):
        self.log.append("exit")

    def cleanup(self):
        self.log.append("cleanup")

class TinyLogic(ScriptedLoadableModuleLogic):
    pass
"""


@pytest.fixture
def tiny(bench, tmp_path):
    path = tmp_path / "Tiny.py"
    path.write_text(MODULE, encoding="utf-8")
    return bench.load_module(path)


def test_the_life_of_a_module(bench, tiny):
    import slicer

    assert slicer.modules.tiny.title == "Tiny" and slicer.util.modulePath("Tiny").endswith("Tiny.py")
    assert slicer.util.getModuleWidget("Tiny") is tiny
    with pytest.raises(AttributeError):
        slicer.modules.tiny.titel = "x"
    bench.enter(tiny)
    bench.click(tiny.button)
    tiny.button.enabled = False
    with pytest.raises(AssertionError, match="disabled"):
        bench.click(tiny.button)
    bench.exit(tiny)
    assert tiny.log == ["enter True", "click", "exit"]
    bench.enter(tiny)
    renewed = bench.reload(tiny)
    assert tiny.log[-1] == "cleanup" and renewed is not tiny and slicer.modules.TinyWidget is renewed
    assert renewed.log == [] and renewed.parent.isEntered  # Slicer does not call enter() here
    assert tiny.button and tiny.button.isHidden()  # the old contents live on
    bench.close()
    assert renewed.log == ["exit", "cleanup"]
    bench.__init__()


def test_observers_that_are_removed_twice_are_faults(bench):
    import slicer
    from slicer.util import VTKObservationMixin

    mixin = VTKObservationMixin()
    mixin.removeObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, print)
    bench.expect_fault("does not have observer")


def test_a_parameter_node_is_made_once(bench, tiny):
    import sys

    logic = sys.modules["Tiny"].TinyLogic()
    node = logic.getParameterNode()
    assert node is logic.getParameterNode() and node.GetAttribute("ModuleName") == "Tiny"


def test_a_screenshot_has_the_width_asked_for(bench, tiny, tmp_path):
    import qt

    picture = qt.QPixmap(str(bench.screenshot(tiny, tmp_path / "out" / "panel.png", width=400)))
    assert picture.width() == 400 and 20 < picture.height() < 200


def test_injected_modules_go_away_again(bench):
    import types

    bench.inject("PyTorchUtils", types.ModuleType("PyTorchUtils"))
    import PyTorchUtils

    assert PyTorchUtils
    bench.close()
    with pytest.raises(ImportError):
        import PyTorchUtils
    bench.__init__()
