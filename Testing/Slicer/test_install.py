"""Installation: asked for once, by the right means, holding Slicer's own packages; offline from a folder of wheels."""

from __future__ import annotations

import importlib.metadata
import os
import types
from pathlib import Path

import pytest
import slicer
from scenes import MODULE, add_volume, open_panel

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
        assert os.environ["PIP_CONSTRAINT"] == path
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
