"""The recipe in C2S Train: changed setting by setting, and where a control decides, there."""

from __future__ import annotations

from trainscenes import open_train


def test_the_recipe_can_be_changed_setting_by_setting(bench, models, tmp_path):
    widget = open_train(bench, settings={})
    table = widget.ui.recipeTable
    names = [table.item(n, 0).text() for n in range(table.rowCount)]
    assert names[0] == "network" and "loss.alpha" in names

    def value(name):
        return table.item(names.index(name), 1)

    widget.ui.advancedSection.setCollapsed(False)
    value("batch").setText("5")
    assert widget.panel.recipe.config().batch == 5 and value("batch").font().bold()
    value("batch").setText("none")
    assert "whole number" in widget.ui.statusLabel.text
    assert widget.panel.recipe.config().batch == 5 and value("batch").text() == "5"
    bench.click(widget.ui.resetButton)
    assert widget.panel.recipe.config().batch != 5
    widget.ui.presetBox.setCurrentIndex(widget.ui.presetBox.findData("standard"))
    assert value("network").text() == widget.panel.recipe.config().network
    widget.ui.minutesSpinBox.setValue(7)
    bench.process_events()
    assert value("minutes").text() == "7.0"
    assert value("steps").text() == "as many as fit"
    path = tmp_path / "own.yaml"
    path.write_text("network: large\nsteps: 9\n")
    widget.ui.recipeFileEdit.setCurrentPath(str(path))
    assert value("network").text() == "large"
    path = tmp_path / "wrong.yaml"
    path.write_text("netwerk: large\n")
    widget.ui.recipeFileEdit.setCurrentPath(str(path))
    assert "netwerk" in widget.ui.statusLabel.text
    for text in ("6", "7"):  # nothing can be taken as long as the recipe cannot be read
        value("batch").setText(text)
        assert "netwerk" in widget.ui.statusLabel.text and widget.panel.recipe.overrides == {}
    widget.ui.recipeFileEdit.setCurrentPath("")
    assert value("batch").text() == str(widget.panel.recipe.config().batch)


def test_settings_that_a_control_decides_are_changed_there(bench, models):
    """A cell of the table holds what is typed, or says where to go."""
    import qt

    widget = open_train(bench, settings={})
    ui, table = widget.ui, widget.ui.recipeTable
    names = [table.item(n, 0).text() for n in range(table.rowCount)]

    def value(name):
        return table.item(names.index(name), 1)

    def editable(name):
        return bool(value(name).flags() & qt.Qt.ItemIsEditable)

    own = widget.panel.recipe.config()
    assert ui.minutesSpinBox.text == (f"{own.minutes:g} min (recipe)" if own.minutes else f"{own.steps} steps (recipe)")
    ui.initialBox.setCurrentIndex(ui.initialBox.findData("tiny"))
    for name, where in (("minutes", "the time"), ("validation", "Hold back"), ("network", "Start from nothing")):
        before = value(name).text()
        assert not editable(name) and where in value(name).toolTip()
        value(name).setText("0.5")
        assert value(name).text() == before and not value(name).font().bold()
    assert widget.panel.recipe.overrides == {}
    ui.heldBackSpinBox.setValue(30)
    bench.process_events()
    assert value("validation").text() == "0.3"
    ui.initialBox.setCurrentIndex(ui.initialBox.findData("none"))
    assert editable("network") and editable("steps")
    value("network").setText("large")
    assert widget.panel.recipe.config().network == value("network").text() == "large"
    ui.minutesSpinBox.setValue(7)
    bench.process_events()
    assert not editable("steps") and "time" in value("steps").toolTip()
