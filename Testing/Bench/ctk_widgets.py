"""Stand-ins for the CTK widgets: their properties, signals and methods, over plain Qt widgets."""

from __future__ import annotations

import enum
import fnmatch
import re
import types

from PySide6 import QtCore, QtGui, QtWidgets

from .ctk_sliders import SLIDERS
from .wrapping import wrapper_class

HEADER = 22  # height of a collapsible button's title, pixels


class ctkCollapsibleButton(QtWidgets.QWidget):
    """A container with a title that folds its contents away."""

    contentsCollapsed = QtCore.Signal(bool)
    toggled = QtCore.Signal(bool)

    def __init__(self, *arguments: object):
        texts = [value for value in arguments if isinstance(value, str)]
        parents = [value for value in arguments if isinstance(value, QtWidgets.QWidget)]
        super().__init__(*parents)
        self._text = texts[0] if texts else ""
        self._collapsed = False
        self._hidden: list[QtWidgets.QWidget] = []
        self.setContentsMargins(0, HEADER, 0, 0)
        self.setMinimumHeight(HEADER)

    def _get_text(self) -> str:
        return self._text

    def setText(self, text: str) -> None:
        self._text = text
        self.update()

    def _get_collapsed(self) -> bool:
        return self._collapsed

    def setCollapsed(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self._apply()
        self.contentsCollapsed.emit(collapsed)
        self.toggled.emit(not collapsed)

    def _apply(self) -> None:
        """Hide the contents, or show again what folding had hidden (and nothing that was hidden before)."""
        if self._collapsed:
            widgets = [c for c in self.children() if isinstance(c, QtWidgets.QWidget) and not c.isHidden()]
            self._hidden += widgets
            for widget in widgets:
                widget.hide()
        else:
            for widget in self._hidden:
                widget.show()
            self._hidden = []
        self.setMaximumHeight(HEADER if self._collapsed else 16777215)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        super().childEvent(event)
        if event.added() and self._collapsed:
            QtCore.QTimer.singleShot(0, self, self._apply)

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        if event.position().y() < HEADER:
            self.setCollapsed(not self._collapsed)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width(), HEADER - 2)
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, option)
        label = ("▸ " if self._collapsed else "▾ ") + self._text
        painter.drawText(option.rect.adjusted(6, 0, -6, 0), QtCore.Qt.AlignmentFlag.AlignVCenter, label)

    def _toggle_contents(self, shown: bool) -> None:
        self.setCollapsed(not shown)

    text = QtCore.Property(str, _get_text, setText)
    collapsed = QtCore.Property(bool, _get_collapsed, setCollapsed)
    checked = QtCore.Property(bool, lambda self: not self._collapsed, _toggle_contents)


class ctkPathLineEdit(QtWidgets.QWidget):
    """A line for a path with a browse button (which opens nothing here).

    As in CTK, `currentPathChanged` comes only for a text that is accepted: not for an empty one, and, where there are
    name filters, not for another ending.
    """

    @QtCore.QFlag
    class Filter(enum.Flag):
        Dirs = 1
        Files = 2
        Drives = 4
        NoSymLinks = 8
        Readable = 16
        Writable = 32
        Executable = 64

    currentPathChanged = QtCore.Signal(str)
    validInputChanged = QtCore.Signal(bool)

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._box = QtWidgets.QComboBox(self)
        self._box.setEditable(True)
        self._box.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self._browse = QtWidgets.QToolButton(self)
        self._browse.setText("…")
        layout.addWidget(self._box)
        layout.addWidget(self._browse)
        self._box.editTextChanged.connect(self._edited)
        self._valid = False
        self._filters = self.Filter.Dirs.value | self.Filter.Files.value | self.Filter.Drives.value
        self._name_filters: list[str] = []
        self._setting_key = ""

    def _path(self) -> str:
        return self._box.currentText()

    def _edited(self, text: str) -> None:
        endings = [pattern for line in self._name_filters for pattern in re.findall(r"\*[^ )]*", line)]
        before, self._valid = self._valid, any(fnmatch.fnmatch(text, e) for e in endings) if endings else bool(text)
        if self._valid:
            self.currentPathChanged.emit(text)
        if self._valid != before:
            self.validInputChanged.emit(self._valid)

    def setCurrentPath(self, path: str) -> None:
        self._box.setEditText(path)

    def addCurrentPathToHistory(self) -> None:
        if self._path() and self._box.findText(self._path()) < 0:
            self._box.addItem(self._path())

    def _get_filters(self) -> int:
        return self._filters

    def setFilters(self, filters: object) -> None:
        self._filters = int(getattr(filters, "value", filters))

    def _get_name_filters(self) -> list[str]:
        return self._name_filters

    def setNameFilters(self, filters: list[str]) -> None:
        self._name_filters = list(filters)

    def _get_setting_key(self) -> str:
        return self._setting_key

    def setSettingKey(self, key: str) -> None:
        self._setting_key = key

    def _get_browse(self) -> bool:
        return not self._browse.isHidden()

    def setShowBrowseButton(self, shown: bool) -> None:
        self._browse.setVisible(shown)

    currentPath = QtCore.Property(str, _path, setCurrentPath)
    filters = QtCore.Property(int, _get_filters, setFilters)
    nameFilters = QtCore.Property("QStringList", _get_name_filters, setNameFilters)
    settingKey = QtCore.Property(str, _get_setting_key, setSettingKey)
    showBrowseButton = QtCore.Property(bool, _get_browse, setShowBrowseButton)


class ctkDirectoryButton(QtWidgets.QWidget):
    """A button that shows a folder."""

    directoryChanged = QtCore.Signal(str)
    directorySelected = QtCore.Signal(str)

    def __init__(self, *arguments: object):
        super().__init__(*[value for value in arguments if isinstance(value, QtWidgets.QWidget)])
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._button = QtWidgets.QPushButton(self)
        layout.addWidget(self._button)
        self._directory = ""
        self._caption = ""
        self.setDirectory(next((value for value in arguments if isinstance(value, str)), "."))

    def _get_directory(self) -> str:
        return self._directory

    def setDirectory(self, directory: str) -> None:
        directory = QtCore.QDir(directory).absolutePath()
        if directory != self._directory:
            self._directory = directory
            self._button.setText(directory)
            self.directoryChanged.emit(directory)

    def _get_caption(self) -> str:
        return self._caption

    def setCaption(self, caption: str) -> None:
        self._caption = caption

    directory = QtCore.Property(str, _get_directory, setDirectory)
    caption = QtCore.Property(str, _get_caption, setCaption)


class ctkCheckableComboBox(QtWidgets.QComboBox):
    """A drop-down list whose items have check boxes."""

    checkedIndexesChanged = QtCore.Signal()

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        self.model().itemChanged.connect(lambda item: self.checkedIndexesChanged.emit())
        self.model().rowsInserted.connect(self._make_checkable)

    def _make_checkable(self, parent: QtCore.QModelIndex, first: int, last: int) -> None:
        for row in range(first, last + 1):
            item = self.model().item(row)
            item.setCheckable(True)
            if item.data(QtCore.Qt.ItemDataRole.CheckStateRole) is None:
                item.setCheckState(QtCore.Qt.CheckState.Unchecked)

    def checkedIndexes(self) -> list[QtCore.QModelIndex]:
        items = [self.model().item(row) for row in range(self.count())]
        return [item.index() for item in items if item.checkState() == QtCore.Qt.CheckState.Checked]

    def setCheckState(self, index: QtCore.QModelIndex, state: QtCore.Qt.CheckState) -> None:
        self.model().itemFromIndex(index).setCheckState(state)

    def checkState(self, index: QtCore.QModelIndex) -> QtCore.Qt.CheckState:
        return self.model().itemFromIndex(index).checkState()


class ctkMessageBox(QtWidgets.QMessageBox):
    """Message box that can remember not to be shown again."""

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        self._key = ""

    def _get_key(self) -> str:
        return self._key

    def setDontShowAgainSettingsKey(self, key: str) -> None:
        self._key = key

    dontShowAgainSettingsKey = QtCore.Property(str, _get_key, setDontShowAgainSettingsKey)


class ctkCheckablePushButton(QtWidgets.QPushButton):
    def __init__(self, *arguments: object):
        super().__init__(*arguments)
        self._controls = False

    def _get_controls(self) -> bool:
        return self._controls

    def setCheckBoxControlsButtonToggleState(self, controls: bool) -> None:
        self._controls = controls

    checkBoxControlsButtonToggleState = QtCore.Property(bool, _get_controls, setCheckBoxControlsButtonToggleState)


class ctkCheckBox(QtWidgets.QCheckBox):
    """As QCheckBox; its indicator icons are not drawn."""


class ctkComboBox(QtWidgets.QComboBox):
    """As QComboBox; its default text is not shown."""


class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    """As QTextBrowser; it does not grow with its text."""


class ctkColorPickerButton(QtWidgets.QPushButton):
    """Only its name: the parameter binding asks whether a widget is one."""


WIDGETS = {
    cls.__name__: cls
    for cls in (
        ctkCollapsibleButton,
        ctkPathLineEdit,
        ctkDirectoryButton,
        ctkCheckableComboBox,
        ctkMessageBox,
        ctkCheckablePushButton,
        ctkCheckBox,
        ctkComboBox,
        ctkFittedTextBrowser,
        ctkColorPickerButton,
        *SLIDERS,
    )
}


def make_ctk_module() -> types.ModuleType:
    module = types.ModuleType("ctk", "Stand-in for PythonQt's ctk module")
    for name, cls in WIDGETS.items():
        setattr(module, name, wrapper_class(cls))
    return module
