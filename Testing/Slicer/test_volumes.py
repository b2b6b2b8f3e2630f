"""The result belongs to the patient.

Geometry, transform, window, study, identifiers; other contrasts through their transforms.
"""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk
from scenes import OBLIQUE, add_volume, phantom

from C2SCore.errors import UserError
from C2SSlicer import volumes

LEFT_HANDED = OBLIQUE @ np.diag([-1.0, 1, 1, 1])
AXIS_FLIPPED = np.diag([-0.9, -0.8, 5.0, 1.0])
MATRICES = {"oblique and sheared": OBLIQUE, "left-handed": LEFT_HANDED, "flipped": AXIS_FLIPPED}


def linear_transform(matrix: np.ndarray):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


@pytest.mark.parametrize("name", MATRICES)
def test_a_result_lies_where_its_source_lies(bench, name):
    source = add_volume(matrix=MATRICES[name])
    shift = linear_transform(np.array([[1.0, 0, 0, 5], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]))
    source.SetAndObserveTransformNodeID(shift.GetID())
    result = volumes.create_like(source, "x")
    volumes.set_voxels(result, volumes.array_of(source))
    assert np.abs(volumes.matrix_of(result) - MATRICES[name]).max() < 1e-6
    assert result.GetParentTransformNode() is shift
    assert np.abs(np.array(result.GetOrigin()) - MATRICES[name][:3, 3]).max() < 1e-6
    bounds = [np.zeros(6), np.zeros(6)]
    source.GetRASBounds(bounds[0]), result.GetRASBounds(bounds[1])
    assert np.abs(bounds[0] - bounds[1]).max() < 1e-6


def test_a_result_looks_like_its_source(bench):
    source = add_volume()
    display = source.GetDisplayNode()
    display.SetWindowLevel(111, 55)
    display.SetInterpolate(False)
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeRainbow")
    result = volumes.create_like(source, "x")
    volumes.set_voxels(result, 3 * volumes.array_of(source))
    shown = result.GetDisplayNode()
    assert (shown.GetWindow(), shown.GetLevel(), shown.GetInterpolate()) == (111, 55, 0)
    assert not shown.GetAutoWindowLevel()
    assert shown.GetColorNodeID() == display.GetColorNodeID()


def test_a_result_is_in_the_study_without_identifiers_of_the_source(bench):
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.CreateStudyItem(patient, "Study")
    source = add_volume()
    source.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(source), study)
    result = volumes.create_like(source, "x")
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(result)) == study
    assert result.GetAttribute("DICOM.instanceUIDs") is None
    assert source.GetAttribute("DICOM.instanceUIDs") == "1.2.3 1.2.4"


def test_an_array_is_a_copy_as_float32_in_slice_order(bench):
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    source = add_volume(voxels=voxels)
    array = volumes.array_of(source)
    assert array.dtype == np.float32 and np.array_equal(array, voxels)
    array[:] = 0
    assert np.array_equal(slicer.util.arrayFromVolume(source), voxels)


@pytest.mark.parametrize("matrix", [OBLIQUE, LEFT_HANDED], ids=["oblique", "left-handed"])
def test_another_contrast_is_found_through_geometry_and_both_transforms(bench, matrix):
    """A linear function of position survives linear interpolation: every voxel must have the value of its place."""
    reference = add_volume(voxels=np.zeros((5, 20, 16), np.float32), matrix=matrix)
    other_matrix = np.diag([1.1, 1.3, 2.0, 1.0])
    other_matrix[:3, 3] = (-80, -60, -40)
    there = linear_transform(np.array([[0, -1, 0, 3.0], [1, 0, 0, -2], [0, 0, 1, 1], [0, 0, 0, 1]]))
    here = linear_transform(np.array([[1, 0, 0, 10.0], [0, 1, 0, 0], [0, 0, 1, -4], [0, 0, 0, 1]]))
    index = np.stack([*np.mgrid[0:60, 0:90, 0:120][::-1], np.ones((60, 90, 120))]).reshape(4, -1)
    world = volumes_matrix(there) @ other_matrix @ index
    other = add_volume(
        "FLAIR", (world[0] + 2 * world[1] - world[2]).reshape(60, 90, 120).astype(np.float32), other_matrix
    )
    other.SetAndObserveTransformNodeID(there.GetID())
    reference.SetAndObserveTransformNodeID(here.GetID())
    index = np.stack([*np.mgrid[0:5, 0:20, 0:16][::-1], np.ones((5, 20, 16))]).reshape(4, -1)
    world = volumes_matrix(here) @ matrix @ index
    expected = (world[0] + 2 * world[1] - world[2]).reshape(5, 20, 16)
    found = volumes.resampled(other, reference)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-3


def volumes_matrix(transform) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def test_a_contrast_on_the_same_grid_is_taken_as_it_is(bench):
    voxels = phantom(seed=3)
    reference, other = add_volume(matrix=OBLIQUE), add_volume("FLAIR", voxels, OBLIQUE)
    assert np.array_equal(volumes.resampled(other, reference), voxels)


def test_a_contrast_elsewhere_is_refused(bench):
    away = OBLIQUE.copy()
    away[:3, 3] += 1000
    with pytest.raises(UserError, match="covers 0%"):
        volumes.resampled(add_volume("FLAIR", matrix=away), add_volume())


def test_what_is_no_grey_image_is_refused_by_name(bench):
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    colours = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Colours")
    for node, text in (
        (labels, "Labels is a LabelMapVolume"),
        (empty, "Empty is empty"),
        (colours, "Colours"),
        (None, "No volume"),
    ):
        with pytest.raises(UserError, match=text):
            volumes.check_scalar(node)


def test_a_result_can_be_stored_and_read_again(bench, tmp_path):
    """NRRD keeps voxels and a right-handed, sheared geometry."""
    source = add_volume(matrix=OBLIQUE)
    result = volumes.create_like(source, "Ergebnis")
    volumes.set_voxels(result, volumes.array_of(source))
    path = str(tmp_path / "ein Ergebnis ü.nrrd")
    assert slicer.util.saveNode(result, path)
    again = slicer.util.loadVolume(path)
    assert np.array_equal(volumes.array_of(again), volumes.array_of(source))
    assert np.abs(volumes.matrix_of(again) - OBLIQUE).max() < 1e-6


def test_facts_are_kept_as_attributes(bench):
    volume = add_volume()
    volumes.describe(volume, {"Model": "näive", "Sigma": 1.23456789, "Frames": 3})
    assert volumes.facts_of(volume) == {"Model": "näive", "Sigma": "1.23457", "Frames": "3"}
