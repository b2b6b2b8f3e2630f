"""Slicer closes while a training runs: it asks first, and once."""

from __future__ import annotations

import slicer
from trainscenes import open_train


def test_closing_slicer_asks(bench, models, tmp_path):
    """While nothing runs, it closes; while a training runs, the answer decides."""
    open_train(bench, "closing")
    from C2STrainSlicer import closing, trainrun

    closing.watch()
    window = slicer.util.mainWindow()
    window.show()
    assert window.close()
    window.show()

    class Going:
        class plan:
            out = tmp_path / "going.safetensors"

    trainrun._running.append(Going)
    try:
        bench.set_testing(False)
        import qt

        with bench.answer_dialogs(lambda dialog: qt.QMessageBox.No) as shown:
            assert not window.close()
        assert "going" in str(shown)
        with bench.answer_dialogs(lambda dialog: qt.QMessageBox.Yes):
            assert window.close()
    finally:
        trainrun._running.clear()


def test_one_closing_is_asked_about_once(bench, models, tmp_path, monkeypatch):
    """macOS sends two events. When Slicer asks about unsaved data, the user may cancel: then it is asked anew."""
    open_train(bench, "closing")
    from types import SimpleNamespace

    import qt

    from C2STrainSlicer import closing, trainrun

    class Cancels(qt.QWidget):
        """In place of Slicer's question; as it was there first, it is asked last."""

        def eventFilter(self, watched, event):
            if event.type() == qt.QEvent.Close:
                event.ignore()
            return event.type() == qt.QEvent.Close

    window, slicers, asked = slicer.util.mainWindow(), Cancels(), []
    closing.unwatch()
    window.installEventFilter(slicers)
    closing.watch()

    def confirm(text, title):
        asked.append(text)
        assert len(asked) < 9
        second = qt.QCloseEvent()  # it comes while the first is being asked about
        qt.QApplication.sendEvent(window, second)
        assert not second.isAccepted()
        return True

    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", confirm)
    going = SimpleNamespace(plan=SimpleNamespace(out=tmp_path / "going.safetensors"))
    monkeypatch.setattr(trainrun, "_running", [going])
    window.show()
    for times in (1, 2):
        assert not window.close() and not window.close()
        assert len(asked) == times
        bench.process_events()
    window.removeEventFilter(slicers)
    assert window.close()
    bench.process_events()
    assert window.close() and len(asked) == 3
