"""Which files a scan lies in, and outputs that would replace one of them."""

from __future__ import annotations

import os

import numpy as np
import pytest
import SimpleITK as sitk
from dicomfiles import strip_mark, write_slice
from phantom import make_scan

from C2SCore import cli, files, headers
from C2SCore.errors import UserError
from C2SCore.jobfiles import check_outputs, files_of
from C2SCore.scan import to_image


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Four scans, a folder beside them and two links; the working directory lies there."""
    for n, name in enumerate(("a.nii.gz", "s.nii.gz", "s_residual.nii.gz", "map.nii.gz")):
        files.write(make_scan(n), tmp_path / name)
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    try:
        os.symlink("a.nii.gz", "link.nii.gz")
        os.link("a.nii.gz", "hard.nii.gz")
    except OSError:
        pytest.skip("links cannot be made here")
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        "denoise a.nii.gz -o sub/../a.nii.gz",
        "denoise link.nii.gz -o a.nii.gz",
        "denoise hard.nii.gz -o a.nii.gz",
        "denoise a.nii.gz --sigma map.nii.gz -o map.nii.gz",
        "denoise a.nii.gz -o o.nii.gz --report MODEL",
        "denoise s.nii.gz s_residual.nii.gz -o sub --residual .",
        "noise a.nii.gz --map sub/../a.nii.gz",
    ],
)
def test_no_command_replaces_its_input(arguments, places, model_file, capsys):
    before = {p: p.read_bytes() for p in [*places.glob("*.nii.gz"), model_file]}
    words = arguments.replace("MODEL", str(model_file)).split()
    model = [] if words[0] == "noise" else ["--model", str(model_file)]
    assert cli.main([*words, *model]) == 2
    assert "is an input" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in before} == before
    assert not list((places / "sub").iterdir())


def test_outputs_of_two_scans_must_differ(places, model_file, capsys):
    arguments = "denoise s.nii.gz s_residual.nii.gz -o sub --residual sub --model".split()
    assert cli.main([*arguments, str(model_file)]) == 2
    assert "two outputs" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_the_data_of_a_detached_header_are_part_of_the_scan(suffix, tmp_path):
    header = tmp_path / f"scan{suffix}"
    sitk.WriteImage(to_image(make_scan()), str(header))
    (data,) = set(tmp_path.iterdir()) - {header}
    assert files_of(header) == [header, data]
    with pytest.raises(UserError, match="is an input"):
        check_outputs([header], [data])


@pytest.mark.parametrize("named", ["LIST\n1.raw\n2.raw\n", "%d.raw 1 2 1\n"])
def test_so_are_data_in_several_files(named, tmp_path):
    header = tmp_path / "scan.mhd"
    header.write_text(f"ObjectType = Image\nElementDataFile = {named}")
    for name in ("1.raw", "2.raw"):
        (tmp_path / name).write_bytes(b"0")
    assert [p.name for p in files_of(header)] == ["scan.mhd", "1.raw", "2.raw"]


def test_a_header_that_cannot_be_opened_is_left_to_the_reading(tmp_path, monkeypatch):
    """It stopped a whole batch before its first scan."""

    def refused(*given):
        raise PermissionError(13, "Permission denied")

    files.write(make_scan(), path := tmp_path / "a.nrrd")
    monkeypatch.setattr(headers, "open", refused, raising=False)
    assert files_of(path) == [path]


def test_images_without_the_mark_are_files_of_their_series(tmp_path):
    write_slice(path := tmp_path / "1.dcm", np.ones((8, 8)), (0, 0, 0), 1)
    strip_mark(path)
    (tmp_path / "notes.txt").touch()
    assert files_of(tmp_path) == [path]
