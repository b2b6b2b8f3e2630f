"""The bench refuses .ui files and parameter bindings that Slicer would refuse or pass over in silence."""

from __future__ import annotations

import enum
import pathlib
from typing import Annotated, Optional

import pytest
from Bench.samples import ramp_volume
from Bench.wrapping import unwrap

# .ui files

UI = """<ui version="4.0"><class>Top</class><widget class="qMRMLWidget" name="Top">
<layout class="QVBoxLayout" name="rows">{rows}</layout></widget><connections>{connections}</connections></ui>"""
SELECTOR = '<item><widget class="qMRMLNodeComboBox" name="input"><property name="nodeTypes"><stringlist>\
<string>vtkMRMLScalarVolumeNode</string></stringlist></property></widget></item>'


def connection(receiver: str = "input", signal: str = "mrmlSceneChanged(vtkMRMLScene*)") -> str:
    return f"<connection><sender>Top</sender><signal>{signal}</signal><receiver>{receiver}</receiver>\
<slot>setMRMLScene(vtkMRMLScene*)</slot></connection>"


def load_ui(tmp_path, rows: str, connections: str = ""):
    import slicer

    path = tmp_path / "panel ü.ui"
    path.write_text(UI.format(rows=rows, connections=connections), encoding="utf-8")
    return slicer.util.loadUI(str(path))


def test_a_scene_reaches_connected_selectors(bench, tmp_path):
    import slicer

    node = ramp_volume("scan")
    top = load_ui(tmp_path, SELECTOR, connection())
    ui = slicer.util.childWidgetVariables(top)
    assert ui.input.currentNode() is None
    top.setMRMLScene(slicer.mrmlScene)
    assert ui.input.currentNode() is node
    assert isinstance(ui.input.nodeTypes, tuple)


def row(kind: str, inside: str = "", name: str = "part") -> str:
    return f'<item><widget class="{kind}" name="{name}">{inside}</widget></item>'


@pytest.mark.parametrize(
    "rows, connections, says",
    [
        (SELECTOR, connection(receiver="gone"), "does not have"),
        (SELECTOR, connection(signal="sceneChanged()"), "no such signal"),
        (row("qMRMLNoSuchWidget"), "", "neither Qt nor the bench"),
        (row("QLabel", '<property name="txt"><string>x</string></property>'), "", "no property 'txt'"),
        (row("QLabel") + row("QCheckBox"), "", "used twice"),
        (
            row("QSlider", '<property name="orientation"><enum>Qt::Orientation::Horizontal</enum></property>'),
            "",
            "Qt 6",
        ),
        (row("QCheckBox", '<property name="SlicerParameterName"><string>a</string></property>'), "", "no property"),
        (
            row("ctkPathLineEdit", '<property name="filters"><set>ctkPathLineEdit::Folders</set></property>'),
            "",
            "Folders",
        ),
    ],
)
def test_faults_in_ui_files_are_errors(bench, tmp_path, rows, connections, says):
    with pytest.raises(RuntimeError, match=says):
        load_ui(tmp_path, rows, connections)


def test_enums_of_ctk_widgets_are_read(bench, tmp_path):
    import slicer

    filters = '<property name="filters"><set>ctkPathLineEdit::Dirs|ctkPathLineEdit::Readable</set></property>'
    ui = slicer.util.childWidgetVariables(load_ui(tmp_path, row("ctkPathLineEdit", filters)))
    assert ui.part.filters == 17


def test_a_path_line_is_silent_about_what_it_does_not_accept(bench):
    """An empty text too; only the end of validity is told."""
    import ctk

    edit, paths, valid = ctk.ctkPathLineEdit(), [], []
    edit.nameFilters = ["Recipes (*.yaml *.yml)"]
    edit.currentPathChanged.connect(paths.append)
    edit.validInputChanged.connect(valid.append)
    for text in ("/a", "/a.yaml", "/b.yml", ""):
        edit.setCurrentPath(text)
    assert paths == ["/a.yaml", "/b.yml"] and valid == [True, False] and edit.currentPath == ""


def test_inner_widgets_are_listed(bench, tmp_path):
    import slicer

    ui = slicer.util.childWidgetVariables(load_ui(tmp_path, row("ctkSliderWidget")))
    assert {"part", "Slider", "SpinBox", "qt_spinbox_lineedit"} <= set(vars(ui))


# Parameter nodes


class Kind(enum.Enum):
    AUTOMATIC = "a"
    MANUAL = "m"


class Labelled(enum.Enum):
    ONE = 1
    TWO = 2

    def label(self):
        return f"Number {self.value}"


def parameter_class():
    from slicer import vtkMRMLScalarVolumeNode
    from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

    class Parameters:
        __annotations__ = {
            "image": vtkMRMLScalarVolumeNode,
            "reference": Optional[vtkMRMLScalarVolumeNode],  # noqa: UP045, as modules write it
            "others": list[vtkMRMLScalarVolumeNode],
            "detail": Annotated[float, WithinRange(0, 1)],
            "number": int,
            "free": float,
            "note": str,
            "on": bool,
            "kind": Kind,
            "labelled": Labelled,
            "folder": pathlib.Path,
        }
        detail = 0.25
        number = 3

    return parameterNodeWrapper(Parameters)


def make_parameters():
    import slicer

    node = slicer.mrmlScene.GetSingletonNode("Parameters", "vtkMRMLScriptedModuleNode")
    if node is None:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        node.SetSingletonTag("Parameters")
        node = slicer.mrmlScene.AddNode(node)
    return parameter_class()(node)


def test_parameters_have_types_and_defaults(bench):
    parameters = make_parameters()
    assert (parameters.detail, parameters.number, parameters.note, parameters.on) == (0.25, 3, "", False)
    assert parameters.kind is Kind.AUTOMATIC and parameters.folder == pathlib.Path()
    assert parameters.image is None and parameters.reference is None and len(parameters.others) == 0
    assert parameters.default("detail").value == 0.25
    with pytest.raises(ValueError):
        parameters.detail = 1.5
    with pytest.raises(ValueError):
        parameters.number = None
    with pytest.raises(TypeError):
        parameters.number = 2.5
    with pytest.raises(TypeError):
        parameters.image = "vtkMRMLScalarVolumeNode1"
    assert parameters.detail == 0.25 and parameters.number == 3


@pytest.mark.parametrize("ending", ["mrml", "mrb"])
def test_parameters_are_saved_with_the_scene(bench, tmp_path, ending):
    import slicer

    parameters = make_parameters()
    parameters.image, parameters.others = ramp_volume("scan"), [ramp_volume("second"), ramp_volume("third")]
    parameters.detail, parameters.note, parameters.on = 0.5, "größer", True
    parameters.kind, parameters.folder = Kind.MANUAL, tmp_path
    parameters.others.append(parameters.image)
    path = tmp_path / f"a scene.{ending}"
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        assert slicer.util.saveNode(node, str(tmp_path / f"{node.GetName()}.nrrd"))
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear()
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == []
    slicer.util.loadScene(str(path))
    parameters = make_parameters()
    assert parameters.image.GetName() == "scan"
    assert [node.GetName() for node in parameters.others] == ["second", "third", "scan"]
    assert (parameters.detail, parameters.note, parameters.on) == (0.5, "größer", True)
    assert parameters.kind is Kind.MANUAL and parameters.folder == tmp_path


PANEL = {
    "image": "qMRMLNodeComboBox",
    "detail": "ctkSliderWidget",
    "number": "QSpinBox",
    "note": "QLineEdit",
    "on": "QCheckBox",
    "kind": "QComboBox",
    "labelled": "QComboBox",
    "folder": "ctkPathLineEdit",
}


def panel(tmp_path, widgets: dict[str, str]):
    import slicer

    mark = '<property name="SlicerParameterName" stdset="0"><string>{}</string></property>'
    rows = "".join(row(kind, mark.format(name), name + "Widget") for name, kind in widgets.items())
    top = load_ui(tmp_path, rows, connection("imageWidget") if "image" in widgets else "")
    top.setMRMLScene(slicer.mrmlScene)
    return slicer.util.childWidgetVariables(top)


def test_widgets_and_parameters_follow_each_other(bench, tmp_path):
    ui, parameters, node = panel(tmp_path, PANEL), make_parameters(), ramp_volume("scan")
    tag = parameters.connectGui(ui)
    assert tag == 0
    ui.detailWidget.value, ui.numberWidget.value, ui.noteWidget.text = 0.75, 9, "x"
    ui.onWidget.checked, ui.kindWidget.currentIndex = True, 1
    ui.folderWidget.currentPath = str(tmp_path)
    ui.imageWidget.setCurrentNode(node)
    assert (parameters.detail, parameters.number, parameters.note, parameters.on) == (0.75, 9, "x", True)
    assert parameters.kind is Kind.MANUAL and parameters.folder == tmp_path and parameters.image is node
    parameters.detail, parameters.on, parameters.kind, parameters.image = 0.125, False, Kind.AUTOMATIC, None
    assert (ui.detailWidget.value, ui.onWidget.checked, ui.kindWidget.currentText) == (0.13, False, "AUTOMATIC")
    assert ui.labelledWidget.currentText == "Number 1"
    assert ui.imageWidget.currentNode() is None
    assert ui.detailWidget.maximum == 1.0
    parameters.disconnectGui(tag)
    ui.numberWidget.value = 4
    assert parameters.number == 9


@pytest.mark.parametrize(
    "widgets, error",
    [
        ({"typo": "QLineEdit"}, ValueError),
        ({"detail": "QLineEdit"}, RuntimeError),
        ({"free": "ctkSliderWidget"}, RuntimeError),
        ({"note": "QPlainTextEdit"}, RuntimeError),
        ({"note": "QComboBox"}, RuntimeError),
        ({"number": "QProgressBar"}, RuntimeError),
        ({"on": "QRadioButton"}, RuntimeError),
    ],
)
def test_widgets_that_cannot_show_a_parameter_raise(bench, tmp_path, widgets, error):
    ui, parameters = panel(tmp_path, widgets), make_parameters()
    with pytest.raises(error):
        parameters.connectGui(ui)


@pytest.mark.parametrize("module", ["C2SDenoise", "C2SDenoiseTrain"])
def test_labels_of_the_panels_name_their_controls(bench, module):
    """To a screen reader; in a form that comes from a file, Qt does not see to it by itself."""
    import slicer
    from PySide6 import QtWidgets

    root = pathlib.Path(__file__).resolve().parents[2]
    top = unwrap(slicer.util.loadUI(str(root / module / "Resources" / "UI" / f"{module}.ui")))
    roles = QtWidgets.QFormLayout.ItemRole
    named = 0
    for form in top.findChildren(QtWidgets.QFormLayout):
        for number in range(form.rowCount()):
            label, field = (form.itemAt(number, role) for role in (roles.LabelRole, roles.FieldRole))
            label = label.widget() if label is not None else None
            if isinstance(label, QtWidgets.QLabel) and not isinstance(field.widget(), QtWidgets.QLabel):
                field = field.widget() or field.layout().itemAt(0).widget()
                assert label.buddy() is field, label.objectName()
                named += 1
    assert named >= 10
