"""C2S Train from a script: with and without its panel, and what the script is told."""

from __future__ import annotations

import numpy as np
import pytest
from scenes import add_volume
from trainscenes import FEW, LONG, MODULE, open_train, read_folder, sessions, start, until_end, until_points

from C2SCore.card import read_card

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_a_script_trains_a_folder_without_a_window(headless_bench, models, tmp_path):
    """Two contrasts from a folder, blocking; then from arrays of the scene, with what is wrong said before."""
    headless_bench.load_module(MODULE)
    from C2SDenoiseTrain import C2SDenoiseTrainLogic

    logic = C2SDenoiseTrainLogic()
    folder = sessions(tmp_path / "in", ("T1W", "FLAIR"))
    seen = []
    done = logic.train(
        str(folder),
        str(tmp_path / "pair.safetensors"),
        config=FEW,
        target="T1W",
        auxiliary=("FLAIR",),
        card={"anatomy": "phantom"},
        report=False,
        onChange=lambda training: seen.append(training.stage),
    )
    assert done.state == "done" and done.plan.out.is_file() and "train" in seen
    card = read_card(done.plan.out)
    assert (card.contrasts, card.auxiliary, card.anatomy) == (("T1W",), ("FLAIR",), "phantom")
    assert card.trained_on == ("p1_T1W", "p2_T1W")
    with pytest.raises(ValueError, match="already"):
        logic.train(str(folder), str(done.plan.out), config=FEW)
    with pytest.raises(ValueError, match="there must be one for each"):
        logic.train([add_volume("a T1")], "x", auxiliary=([],), config=FEW)
    with pytest.raises(ValueError, match="steps"):
        logic.train([add_volume("a T1")], "x", config=FEW | {"steps": -1})
    with pytest.raises(RuntimeError, match="no noise"):
        logic.train(
            [add_volume("flat T1", np.full((3, 40, 40), 7, np.float32))], str(tmp_path / "f.safetensors"), config=FEW
        )
    assert not (tmp_path / "f.training").exists()


def test_a_training_that_a_script_began_is_shown_and_both_are_told(bench, models, tmp_path):
    """Also where the panel has had one of its own before; the script hears of the end, as it asked to."""
    widget = open_train(bench, "of the panel")
    read_folder(bench, widget, sessions(tmp_path, count=1))
    until_end(bench, start(bench, widget))
    bench.exit(widget)
    from C2SDenoiseTrain import C2SDenoiseTrainLogic

    told = []
    training = C2SDenoiseTrainLogic().train(
        str(tmp_path), "of a script", config=LONG, report=False, wait=False, onEnd=told.append
    )
    bench.enter(widget)
    assert widget.ui.stopButton.enabled and not widget.ui.startButton.enabled
    assert "of the panel" not in widget.ui.statusLabel.text
    until_points(bench, training, 2)
    assert len(widget.panel.train.monitor.points("loss")) == len(training.history)
    bench.click(widget.ui.stopButton)
    until_end(bench, training, "stopped")
    assert told == [training] and "of a script" in widget.ui.statusLabel.text


def test_a_script_is_told_what_there_is_and_what_is_left_out(headless_bench, models, tmp_path, caplog):
    headless_bench.load_module(MODULE)
    from C2SDenoiseTrain import C2SDenoiseTrainLogic

    logic = C2SDenoiseTrainLogic()
    folder = sessions(tmp_path / "in", ("T1w", "FLAIR"), count=3)
    (folder / "p2_FLAIR.nrrd").unlink()
    (folder / "p3_T1w.nrrd").write_text("garbage")
    for target, auxiliary in (("PD", ()), ("T1w", ("PD",))):
        with pytest.raises(ValueError, match=r"no scan of the contrast 'PD' .* there are FLAIR, T1W"):
            logic.train(str(folder), str(tmp_path / "x.safetensors"), config=FEW, target=target, auxiliary=auxiliary)
    out = str(tmp_path / "told.safetensors")
    caplog.clear()
    done = logic.train(str(folder), out, config=FEW, target="t1w", auxiliary=("flair",), report=False)
    card = read_card(done.plan.out)
    assert (card.trained_on, card.contrasts, card.auxiliary) == (("p1_T1w",), ("T1W",), ("FLAIR",))
    assert "p2 lacks FLAIR" in caplog.text and "left out: p3_T1w: " in caplog.text
    for path in folder.glob("p[12]_T1w.nrrd"):
        path.unlink()
    with pytest.raises(ValueError, match=r"no scan .* there are FLAIR\. .* Not usable: p3_T1w"):
        logic.train(str(folder), str(tmp_path / "x.safetensors"), config=FEW, target="T1W")
    for path in folder.glob("*_FLAIR.nrrd"):
        path.unlink()
    with pytest.raises(ValueError, match=r"There is no scan to train on .* p3_T1w: "):
        logic.train(str(folder), str(tmp_path / "x.safetensors"), config=FEW)
