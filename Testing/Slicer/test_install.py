"""Installation: asked for once, by the right means, holding Slicer's own packages; offline from a folder of wheels."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import pytest
import slicer
from scenes import MODULE, add_volume, apply, open_panel, settle

from C2SCore import events
from C2SCore.errors import UserError
from C2SSlicer import install, job

WANTED = install.requirements(MODULE.parent / "Resources" / "requirements.txt")


class World:
    """What is installed, and what is done about it."""

    def __init__(self, bench, monkeypatch):
        self.versions = {"numpy": "2.0.2", "scipy": "1.13.1", "SimpleITK": "2.5.0", "packaging": "25.0"}
        self.asked: list[str] = []
        self.answer = True
        self.pip: list[list[str]] = []
        self.constraints: list[str] = []
        self.torch: list[dict] = []
        self.meanwhile = lambda: None  # what the user does while pip runs
        bench.set_testing(False)
        monkeypatch.setattr(importlib.metadata, "version", self.version)
        monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", self.confirm)
        monkeypatch.setattr(slicer.util, "pip_install", self.pip_install)

    def version(self, name: str) -> str:
        try:
            return self.versions[name]
        except KeyError:
            raise importlib.metadata.PackageNotFoundError(name) from None

    def confirm(self, text: str, *rest: object, **more: object) -> bool:
        self.asked.append(text)
        return self.answer

    def pip_install(self, arguments: list[str]) -> None:
        self.pip.append(arguments)
        path = arguments[arguments.index("--constraint") + 1]
        assert os.environ["PIP_CONSTRAINT"] == Path(path).as_uri()
        slicer.app.processEvents()  # as Slicer does at each line that pip prints
        self.meanwhile()
        self.constraints.append(Path(path).read_text())
        self.have(*(a for a in arguments if not a.startswith("-") and not os.path.exists(a)))

    def have(self, *requirements: str) -> None:
        for text in requirements:
            name, _, version = text.partition(">=")
            self.versions[name] = version.partition(",")[0] or "1"

    def with_extension(self, bench) -> None:
        """The PyTorch extension is there."""

        class PyTorchUtilsLogic:
            @staticmethod
            def installTorch(**options):
                assert os.environ["PIP_CONSTRAINT"]
                self.torch.append(options)
                self.versions["torch"] = "2.5.1+cu124"
                return types.ModuleType("torch")

        fake = types.ModuleType("PyTorchUtils")
        fake.PyTorchUtilsLogic = PyTorchUtilsLogic
        bench.inject("PyTorchUtils", fake)


@pytest.fixture
def world(bench, monkeypatch):
    return World(bench, monkeypatch)


def test_the_list_leaves_slicers_own_packages_alone():
    names = {text.split(">")[0] for text in WANTED}
    assert names == {"h5py", "PyYAML", "safetensors"}
    assert all("==" not in text for text in WANTED)


def test_nothing_is_asked_where_nothing_is_missing(world):
    world.have("torch>=2.5.1", *WANTED)
    assert install.ensure(WANTED) and world.asked == [] and world.pip == []
    assert install.preflight(WANTED) == "PyTorch 2.5.1 is installed."


def test_one_question_then_torch_by_its_extension_and_the_rest_by_slicer(bench, world):
    world.with_extension(bench)
    assert "torch" in install.preflight(WANTED) and "first Apply" in install.preflight(WANTED)
    assert install.ensure(WANTED)
    assert len(world.asked) == 1
    for word in ("torch", "h5py", "PyYAML", "safetensors", "gigabytes", "numpy", "never leave"):
        assert word in world.asked[0]
    assert world.torch == [{"askConfirmation": False, "torchVersionRequirement": install.TORCH}]
    assert [a for a in world.pip[0] if ">=" in a] == WANTED
    assert world.constraints == ["numpy==2.0.2\nscipy==1.13.1\nSimpleITK==2.5.0\n"]
    assert "PIP_CONSTRAINT" not in os.environ


def test_a_refusal_installs_nothing(bench, world):
    world.with_extension(bench)
    world.answer = False
    assert not install.ensure(WANTED)
    assert world.pip == [] and world.torch == []


def test_offline_everything_comes_from_the_folder(world, tmp_path):
    """Torch too, and without the extension."""
    assert install.ensure(WANTED, str(tmp_path))
    arguments = world.pip[0]
    assert arguments[:3] == ["--no-index", "--find-links", str(tmp_path)]
    assert any(a.startswith("torch") for a in arguments) and set(WANTED) < set(arguments)
    assert str(tmp_path) in world.asked[0] and "gigabytes" not in world.asked[0]


def test_without_the_extension_it_is_installed_first_or_the_way_is_named(world):
    with pytest.raises(UserError, match="Extensions Manager"):
        install.ensure(WANTED)
    assert list(slicer.app.extensionsManagerModel().requested) == ["PyTorch"]
    assert world.pip == []


def test_an_extension_that_was_installed_wants_a_restart(world, monkeypatch):
    """Slicer restarts only when the user says so."""
    manager, asked = slicer.app.extensionsManagerModel(), []
    real = slicer.app.extensionsManagerModel()._native
    monkeypatch.setattr(
        type(real), "installExtensionFromServer", lambda self, name, restart=True: asked.append((name, restart)) or True
    )
    assert manager
    with pytest.raises(UserError, match="Restart Slicer, then apply again"):
        install.ensure(WANTED)
    assert asked == [("PyTorch", False)]


def test_pip_obeys_the_constraints_from_a_folder_with_spaces(bench, monkeypatch, tmp_path):
    """pip itself reads the variable: it splits it at spaces."""
    pytest.importorskip("pip")
    folder = tmp_path / "Anna Müller"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with install.constraints() as path:
        assert Path(path).parent == folder
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--disable-pip-version-check"]
        held = importlib.metadata.version("numpy")
        done = subprocess.run([*command, f"numpy=={held}"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        done = subprocess.run([*command, "numpy==0.1"], capture_output=True, text=True)
        assert done.returncode != 0 and "conflicting" in done.stderr, done.stderr


def test_a_failure_of_the_extension_is_named_with_its_cure(bench, world):
    """light-the-torch has failed: Slicer raises, and the user must hear what to do."""
    world.with_extension(bench)
    logic = sys.modules["PyTorchUtils"].PyTorchUtilsLogic

    def broken(**options):
        raise subprocess.CalledProcessError(1, ["PythonSlicer", "-m", "light_the_torch"])

    logic.installTorch = staticmethod(broken)
    with pytest.raises(UserError, match=r"light_the_torch.*Restart Slicer and apply again"):
        install.ensure(WANTED)
    assert world.pip == []


def test_a_torch_that_slicer_itself_cannot_load_is_installed_all_the_same(bench, world):
    """Only the worker loads it."""
    world.with_extension(bench)
    logic = sys.modules["PyTorchUtils"].PyTorchUtilsLogic

    def installed(**options):
        world.have("torch>=2.5.1")
        raise OSError("DLL load failed")

    logic.installTorch = staticmethod(installed)
    assert install.ensure(WANTED)


def test_nothing_is_installed_while_slicer_is_tested(bench, world):
    """There Slicer answers every question with yes."""
    bench.set_testing(True)
    world.with_extension(bench)
    with pytest.raises(UserError, match="nothing is installed"):
        install.ensure(WANTED)
    with pytest.raises(UserError, match="nothing is installed"):
        install.ensure_evaluation()
    assert world.asked == [] and world.pip == []


def test_a_torch_that_is_too_old_counts_as_missing(bench, world):
    world.with_extension(bench)
    world.have("torch>=1.13.0", *WANTED)
    assert install.ensure(WANTED) and len(world.torch) == 1 and world.pip == []


def test_a_failure_of_pip_is_named_with_its_cure(bench, world, monkeypatch):
    world.with_extension(bench)

    def broken(arguments):
        raise RuntimeError("no route to host")

    monkeypatch.setattr(slicer.util, "pip_install", broken)
    with pytest.raises(UserError, match=r"no route to host.*folder of downloaded wheels"):
        install.ensure(WANTED)
    assert "PIP_CONSTRAINT" not in os.environ


def test_no_worker_runs_during_an_installation(bench, world):
    """On Windows, pip could not replace what it has loaded."""
    world.with_extension(bench)
    worker = job.shared()
    worker.submit(events.NoiseJob(job.new_id(), "nowhere.npy")).wait(30)
    process, ended = worker._process, []
    world.meanwhile = lambda: ended.append(process.returncode is not None)
    install.ensure(WANTED)
    assert ended == [True]


def test_a_process_that_does_not_end_in_time_is_killed(world):
    worker = job.Worker([sys.executable, "-c", "import time; time.sleep(60)"])
    task = worker.submit(events.CheckJob(job.new_id()))
    process = worker._process
    worker.close(0.2)
    assert process.returncode is not None and isinstance(task.ending, events.Cancelled)


def test_a_training_is_not_ended_by_an_installation(bench, world):
    world.with_extension(bench)
    trainer = job.shared("train")
    trainer.defer(lambda: None)  # what it does is of no matter
    with pytest.raises(UserError, match="stop it in C2S Train"):
        install.ensure(WANTED)
    assert world.asked == [] and world.pip == []
    trainer.poll()
    assert install.ensure(WANTED)


def test_a_worker_that_runs_is_restarted_after_an_installation(bench, world):
    """It has looked for its packages already, in vain."""
    world.with_extension(bench)
    worker = job.shared()
    worker.submit(events.NoiseJob(job.new_id(), "nowhere.npy")).wait(30)
    pid = worker.started.pid
    install.ensure(WANTED)
    assert job.shared() is worker and not worker.running
    worker.submit(events.NoiseJob(job.new_id(), "nowhere.npy")).wait(30)
    assert worker.started.pid != pid


def test_a_refusal_in_the_panel_denoises_nothing_and_says_so(bench, monkeypatch):
    add_volume()
    widget = open_panel(bench)
    world = World(bench, monkeypatch)
    world.answer = False
    bench.click(widget.ui.applyButton)
    assert len(world.asked) == 1 and widget.panel.run is None
    assert "Nothing was installed" in widget.ui.statusLabel.text and widget.ui.applyButton.text == "Apply"


def test_what_the_user_does_during_an_installation(bench, monkeypatch):
    """Slicer handles events meanwhile: a second click on Apply, a scene that is closed."""
    add_volume()
    widget = open_panel(bench)
    world = World(bench, monkeypatch)
    world.with_extension(bench)
    said = []

    def click():
        said.append(widget.ui.statusLabel.text)
        assert not widget.ui.applyButton.enabled
        widget.panel._on_apply()
        said.append(widget.ui.statusLabel.text)

    world.meanwhile = click
    bench.click(widget.ui.applyButton)
    assert "Installing torch" in said[0] and "An installation is going on" in said[1] and len(world.asked) == 1
    assert widget.panel.run is not None and "going on" not in widget.ui.statusLabel.text
    bench.wait_until(lambda: widget.panel.run.finished)
    del world.versions["h5py"]
    world.meanwhile = lambda: slicer.mrmlScene.Clear(0)
    bench.click(widget.ui.applyButton)
    assert widget.panel.run is None  # none was started, and that of the scene before is forgotten
    assert "NoneType" not in widget.ui.statusLabel.text
    assert widget.ui.applyButton.text == "Apply"


def test_who_does_not_want_scikit_image_is_not_asked_again_at_each_move(bench, monkeypatch):
    add_volume()
    reference = add_volume("Reference")
    widget = open_panel(bench)
    apply(bench, widget)
    world = World(bench, monkeypatch)
    world.answer = False
    widget.ui.referenceSelector.setCurrentNode(reference)
    settle(bench, widget)
    assert len(world.asked) == 1 and "not measured" in widget.ui.statusLabel.text
    assert widget._parameterNode.referenceVolume is None
    widget.ui.detailSlider.setValue(40)
    settle(bench, widget)
    assert len(world.asked) == 1


def test_the_reference_needs_scikit_image_and_asks_for_it(bench, world):
    install.ensure_evaluation()
    assert "scikit-image" in world.asked[0] and world.pip[0][0].startswith("scikit-image")
    world.asked.clear()
    install.ensure_evaluation()
    assert world.asked == []
    del world.versions["scikit-image"]
    world.answer = False
    with pytest.raises(UserError, match="not measured"):
        install.ensure_evaluation()
