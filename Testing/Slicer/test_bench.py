"""The bench is as strict as PythonQt in Slicer 5.10: attributes, arguments, enums, signals, dialogs."""

from __future__ import annotations

import functools
import time

import numpy as np
import pytest

# Attributes and properties


def test_properties_are_attributes(bench):
    import qt

    label = qt.QLabel("first")
    assert label.text == "first"
    label.text = "second"
    assert label.text == "second" and label.property("text") == "second"
    label.text = 5
    assert label.text == "5"
    label.name = "title"
    assert label.objectName == "title"
    assert label.property("nothing") is None


@pytest.mark.parametrize("name", ["txt", "Text", "checkStateChanged", "_secret"])
def test_unknown_attributes_raise(bench, name):
    import qt

    label = qt.QCheckBox("x")
    with pytest.raises(AttributeError):
        getattr(label, name)
    with pytest.raises(AttributeError):
        setattr(label, name, "x")


@pytest.mark.parametrize(
    "make, name, value",
    [("QSpinBox", "value", "many"), ("QLabel", "enabled", "yes"), ("QLabel", "text", None), ("QLabel", "width", 5)],
)
def test_values_of_the_wrong_type_and_read_only_properties_raise(bench, make, name, value):
    import qt

    widget = getattr(qt, make)()
    with pytest.raises(AttributeError):
        setattr(widget, name, value)


def test_methods_with_wrong_arguments_raise(bench):
    import qt

    with pytest.raises(ValueError):
        qt.QLabel().setText(object())
    with pytest.raises(ValueError, match="numpy"):
        qt.QSpinBox().setValue(np.int64(3))
    with pytest.raises(ValueError, match="Python function"):
        qt.QMenu().addAction("x", lambda: None)


def test_classes_are_not_related(bench):
    import qt

    button = qt.QPushButton("x")
    assert type(button) == qt.QPushButton and isinstance(button, qt.QPushButton)  # noqa: E721, as Slicer compares
    assert not isinstance(button, qt.QWidget)
    assert button.className() == "QPushButton"


def test_lists_arrive_as_tuples(bench):
    import slicer

    assert isinstance(slicer.app.layoutManager().sliceViewNames(), tuple)


def test_a_destroyed_object_is_false_and_refuses_use(bench):
    import qt

    parent = qt.QWidget()
    child = qt.QLabel("x", parent)
    parent.deleteLater()
    bench.process_events()
    assert not child
    with pytest.raises(ValueError, match="destroyed"):
        _ = child.text


def test_an_object_without_parent_lives_as_long_as_its_reference(bench):
    import qt

    ticks = []
    timer = qt.QTimer()
    timer.timeout.connect(lambda: ticks.append(1))
    timer.start(1)
    del timer
    bench.process_events(0.03)
    assert ticks == []


def test_python_subclasses_override_events_and_take_attributes(bench):
    import qt

    class Watcher(qt.QObject):
        def eventFilter(self, watched, event):
            self.seen = type(event).__name__
            return False

    watcher, label = Watcher(), qt.QLabel("x")
    label.installEventFilter(watcher)
    label.setText("y")
    label.resize(50, 20)
    label.show()
    bench.process_events()
    assert watcher.seen.endswith("Event")


# Forbidden roads


def test_what_pythonqt_lacks_is_refused(bench):
    import qt

    with pytest.raises(ValueError, match="loadFromData"):
        qt.QImage(b"\0" * 16, 2, 2, 8, qt.QImage.Format_RGBA8888)
    with pytest.raises(AttributeError, match="ctkPathLineEdit"):
        qt.QFileDialog.getOpenFileName()
    for name in ("Signal", "QRegExp", "QTextCodec", "Nothing"):
        with pytest.raises(AttributeError):
            getattr(qt, name)


def test_enumerators_are_numbers(bench):
    import qt

    assert qt.QProcess.NotRunning == 0 and repr(qt.QProcess.NotRunning) == "0"
    assert qt.Qt.AlignLeft | qt.Qt.AlignTop == 33
    label = qt.QLabel("x")
    label.setAlignment(qt.Qt.AlignRight | qt.Qt.AlignTop)
    assert label.alignment & qt.Qt.AlignRight
    assert qt.QProcess().state() == qt.QProcess.NotRunning
    with pytest.raises(AttributeError):
        _ = qt.QProcess.ProcessState.NotRunning


# Signals


def test_a_wrong_signature_returns_false_and_is_recorded(bench):
    import qt

    button = qt.QPushButton("x")
    button.objectName = "go"
    assert button.connect("clicked(int)", lambda: None) is False
    assert button.connect("nope()", lambda: None) is False
    with pytest.raises(AttributeError):
        button.nope.connect(lambda: None)
    bench.expect_fault("'go' has no signal 'clicked(int)'")
    bench.expect_fault("nope()")


def test_slots_get_as_many_arguments_as_they_have_parameters(bench):
    import qt

    got = []

    class Panel:
        def none(self):
            got.append(())

        def one(self, checked):
            got.append(checked)

        def default(self, checked="kept"):
            got.append(checked)

        def every(self, *arguments):
            got.append(arguments)

    panel, button = Panel(), qt.QPushButton("x")
    for slot in (panel.none, panel.one, panel.default, panel.every, lambda k=5: got.append(k)):
        assert button.clicked.connect(slot)
    button.click()
    assert got == [(), False, False, (False,), False]


def test_partials_get_the_argument_appended_and_fail(bench):
    import qt

    button = qt.QPushButton("x")
    button.clicked.connect(functools.partial(lambda number: None, 7))
    button.click()
    bench.expect_fault("TypeError")


def test_exceptions_in_slots_are_swallowed_and_recorded(bench):
    import qt

    def fail():
        raise ZeroDivisionError("in the slot")

    button = qt.QPushButton("x")
    button.connect("clicked()", fail)
    button.click()
    qt.QTimer.singleShot(0, fail)
    bench.process_events(0.01)
    bench.expect_fault("in the slot")


def test_exceptions_in_observers_are_recorded(bench):
    import slicer

    def fail(caller, event):
        raise ZeroDivisionError("in the observer")

    slicer.mrmlScene.AddObserver(slicer.mrmlScene.StartCloseEvent, fail)
    slicer.mrmlScene.Clear()
    bench.expect_fault("in the observer")


def test_the_session_fails_on_a_fault_that_nobody_expected(bench):
    import qt

    qt.QPushButton("x").connect("nope()", lambda: None)
    assert any("nope()" in problem for problem in bench.unmet())
    bench.expect_fault("never")
    assert bench.unmet() == ["expected, but did not happen: never"]
    bench.expected.clear()


def test_disconnect_and_blocked_signals(bench):
    import qt

    got, box = [], qt.QCheckBox("x")
    slot = got.append
    box.toggled.connect(slot)
    box.checked = True
    box.blockSignals(True)
    box.checked = False
    box.blockSignals(False)
    assert box.disconnect("toggled(bool)", slot) is True
    assert box.disconnect("toggled(bool)", slot) is False
    box.checked = True
    assert got == [True]


def test_default_overloads(bench):
    import qt

    got = []
    spin, combo = qt.QDoubleSpinBox(), qt.QComboBox()
    combo.addItem("a")
    spin.valueChanged.connect(got.append)
    combo.currentIndexChanged.connect(got.append)
    spin.value = 2.5
    combo.addItem("b")
    combo.currentIndex = 1
    assert got == [2.5, 1]


def test_a_process_by_signature(bench):
    import sys

    import qt

    ended, process = [], qt.QProcess()
    assert process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: ended.append((code, status)))
    process.start(sys.executable, ["-c", "import sys; print(sys.stdin.read() + 'ü'); sys.exit(3)"])
    process.write(b"echo ")
    process.closeWriteChannel()
    bench.wait_until(lambda: ended)
    assert ended == [(3, qt.QProcess.NormalExit)]
    assert process.readAllStandardOutput().data().decode().strip() == "echo ü"


def test_quitting_reaches_modules(bench):
    import slicer

    assert slicer.app.connect("aboutToQuit()", lambda: None)
    assert slicer.app.connect("startupCompleted()", lambda: None)


def test_timers_tick_while_the_bench_waits(bench):
    import qt

    ticks, timer = [], qt.QTimer()
    timer.setInterval(5)
    timer.connect("timeout()", lambda: ticks.append(time.monotonic()))
    timer.start()
    bench.process_events(0.1)
    assert len(ticks) >= 5


# Dialogs


def test_dialogs_are_skipped_in_testing_mode(bench):
    import slicer

    assert slicer.util.confirmYesNoDisplay("Sure?") is False
    with pytest.raises(ZeroDivisionError), slicer.util.tryWithErrorDisplay("Failed", waitCursor=True):
        _ = 1 / 0


def test_a_dialog_is_answered_by_the_test_or_is_a_fault(bench):
    import qt
    import slicer

    bench.set_testing(False)
    with bench.answer_dialogs(qt.QMessageBox.Yes) as shown:
        assert slicer.util.confirmYesNoDisplay("Install torch?") is True
    assert shown == ["Install torch?"]
    with pytest.raises(RuntimeError):
        slicer.util.errorDisplay("Nobody is there")
    bench.expect_fault("Nobody is there")


def test_installing_is_only_written_down(bench):
    import slicer

    slicer.util.pip_install("h5py")
    assert bench.pip_calls == [(("h5py",), {})]
