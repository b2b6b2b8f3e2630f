"""Volumes of the scene as arrays, and results as volumes that belong to the patient.

Arrays are (K, J, I) as Slicer orders them. The geometry of a result is never taken from a file: it is the matrix of
the source node.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import numpy as np
import slicer
import vtk

from C2SCore import spacing
from C2SCore.errors import UserError

ATTRIBUTE = "C2SDenoise."  # prefix of what a result says about its origin
MINIMUM_OVERLAP = 0.05  # fraction of the input that another contrast must cover


def check_scalar(volume) -> None:
    """Raise `UserError` unless the node is a grey-value volume with voxels in it."""
    if volume is None:
        raise UserError("No volume is chosen. Choose the volume to denoise under Input.")
    if not volume.IsA("vtkMRMLScalarVolumeNode") or volume.GetClassName() != "vtkMRMLScalarVolumeNode":
        kind = volume.GetClassName().replace("vtkMRML", "").replace("Node", "")
        raise UserError(
            f"{volume.GetName()} is a {kind}; only grey-value (scalar) volumes can be denoised. Choose the "
            f"image itself."
        )
    image = volume.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0 or image.GetPointData().GetScalars() is None:
        raise UserError(f"{volume.GetName()} is empty: it has no voxels. Load it again, or choose another volume.")
    if image.GetNumberOfScalarComponents() != 1:
        raise UserError(
            f"{volume.GetName()} has {image.GetNumberOfScalarComponents()} values per voxel; it must have one. "
            "Choose a grey-value volume, or split it with Vector to Scalar Volume."
        )


class Kept:
    """A node to come back to: `get` gives it, or None once it has left the scene. An id alone does not tell, for a
    scene that is opened then gives it to another node.
    """

    def __init__(self, node_id: str) -> None:
        self._id, self._node = node_id, vtk.vtkWeakReference()
        self._node.Set(slicer.mrmlScene.GetNodeByID(node_id))

    def get(self):
        found = slicer.mrmlScene.GetNodeByID(self._id)
        return found if found is not None and found is self._node.Get() else None


def first_shown():
    """The first grey-value volume that a user would choose from; None where there is none.

    Label maps are a kind of scalar volume, and what is hidden (pictures of a training, say) is no scan.
    """
    for volume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        if volume.GetClassName() == "vtkMRMLScalarVolumeNode" and not volume.GetHideFromEditors():
            return volume
    return None


def array_of(volume) -> np.ndarray:
    """A float32 copy of the voxels, (K, J, I), in the volume's own unit."""
    check_scalar(volume)
    return np.array(slicer.util.arrayFromVolume(volume), dtype=np.float32, order="C")


def slice_axis(volume) -> int:
    """The axis of the voxels' array along which slices lie: 0, or that of the thick slices."""
    return spacing.slice_axis(volume.GetSpacing(), volume.GetImageData().GetDimensions()[::-1])


def isotropic(volume) -> bool:
    """Whether voxels are about as thick as wide."""
    return spacing.isotropic(volume.GetSpacing(), volume.GetImageData().GetDimensions())


def matrix_of(volume) -> np.ndarray:
    """IJK-to-RAS matrix of the node itself, (4, 4), without its parent transform."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def same_grid(a, b, tolerance: float = 1e-3) -> bool:
    """Whether two volumes have the same voxels in the same places (mm), under the same transform."""
    if a.GetImageData().GetDimensions() != b.GetImageData().GetDimensions():
        return False
    return a.GetTransformNodeID() == b.GetTransformNodeID() and np.allclose(
        matrix_of(a), matrix_of(b), rtol=0, atol=tolerance
    )


def resampled(volume, reference) -> np.ndarray:
    """Voxels of `volume` on the grid of `reference`, (K, J, I) float32: both parent transforms are honoured, linear
    interpolation.

    Outside `volume` the value is 0; raises `UserError` where the two hardly overlap.
    """
    check_scalar(volume)
    if same_grid(volume, reference):
        return array_of(volume)
    to_voxels = vtk.vtkGeneralTransform()  # index in reference -> its RAS -> world -> RAS of volume -> index in volume
    to_voxels.PostMultiply()
    to_voxels.Concatenate(_vtk_matrix(reference, inverse=False))
    between = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
        reference.GetParentTransformNode(), volume.GetParentTransformNode(), between
    )
    to_voxels.Concatenate(between)
    to_voxels.Concatenate(_vtk_matrix(volume, inverse=True))
    values = _reslice(volume.GetImageData(), reference, to_voxels, vtk.VTK_FLOAT)
    ones = vtk.vtkImageData()
    ones.SetDimensions(volume.GetImageData().GetDimensions())
    ones.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    ones.GetPointData().GetScalars().Fill(1)
    covered = float(_reslice(ones, reference, to_voxels, vtk.VTK_UNSIGNED_CHAR).mean())
    if covered < MINIMUM_OVERLAP:
        raise UserError(
            f"{volume.GetName()} covers {covered:.0%} of {reference.GetName()}; the contrasts must show the "
            f"same anatomy. "
            "Choose a scan of the same patient and session, or register it first."
        )
    return values


def _vtk_matrix(volume, inverse: bool):
    matrix = vtk.vtkMatrix4x4()
    volume.GetRASToIJKMatrix(matrix) if inverse else volume.GetIJKToRASMatrix(matrix)
    return matrix


def _reslice(image, reference, to_voxels, scalar_type: int) -> np.ndarray:
    """`image` (on a unit grid) looked up at the voxels of the reference node."""
    from vtk.util.numpy_support import vtk_to_numpy

    dimensions = reference.GetImageData().GetDimensions()
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(image)
    reslice.SetResliceTransform(to_voxels)
    reslice.SetInterpolationModeToLinear()
    reslice.SetOutputScalarType(scalar_type)
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetOutputSpacing(1, 1, 1)
    reslice.SetOutputExtent(0, dimensions[0] - 1, 0, dimensions[1] - 1, 0, dimensions[2] - 1)
    reslice.SetBackgroundLevel(0)
    reslice.Update()
    values = vtk_to_numpy(reslice.GetOutput().GetPointData().GetScalars())
    return values.reshape(dimensions[::-1]).copy()


def create_like(source, name: str):
    """A new, empty volume node that lies where `source` lies and looks as it looks, placed under the same study."""
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", slicer.mrmlScene.GenerateUniqueName(name))
    volume.CreateDefaultDisplayNodes()
    place_like(volume, source)
    return volume


def place_like(volume, source) -> None:
    """Give `volume` the geometry, parent transform, window, level and study of `source`.

    Identifiers of its DICOM files go.
    """
    matrix = vtk.vtkMatrix4x4()
    source.GetIJKToRASMatrix(matrix)
    volume.SetIJKToRASMatrix(matrix)
    volume.SetAndObserveTransformNodeID(source.GetTransformNodeID())
    volume.RemoveAttribute("DICOM.instanceUIDs")
    if volume.GetDisplayNode() is None:
        volume.CreateDefaultDisplayNodes()
    copy_window(source, volume)
    place_in_study(volume, source)


def copy_window(source, volume) -> None:
    """Same window, level, colours and interpolation; fixed, so that both stay comparable."""
    shown = source.GetDisplayNode()
    if shown is None:
        return
    display = volume.GetDisplayNode()
    display.SetAndObserveColorNodeID(shown.GetColorNodeID())
    display.SetInterpolate(shown.GetInterpolate())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(shown.GetWindow(), shown.GetLevel())


def place_in_study(volume, source) -> None:
    """Put `volume` beside `source` in the subject hierarchy: under the same study, where DICOM export looks for it."""
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    theirs = hierarchy.GetItemByDataNode(source) if hierarchy else 0
    if not theirs:  # no hierarchy, or a source that is in none: nothing to join
        return
    parent = hierarchy.GetItemParent(theirs)
    ours = hierarchy.GetItemByDataNode(volume)
    if ours:
        hierarchy.SetItemParent(ours, parent)
    else:
        hierarchy.CreateItem(parent, volume)


def set_voxels(volume, voxels: np.ndarray) -> None:
    """Fill a node with an array (K, J, I); the node keeps its geometry and its window."""
    with node_change(volume):
        slicer.util.updateVolumeFromArray(volume, np.ascontiguousarray(voxels))
    if volume.GetDisplayNode() is not None:
        volume.GetDisplayNode().SetAutoWindowLevel(False)


def set_image(volume, image) -> None:
    """Give a node an image that was filled elsewhere; the node keeps its geometry and its window."""
    with node_change(volume):
        volume.SetAndObserveImageData(image)
    if volume.GetDisplayNode() is not None:
        volume.GetDisplayNode().SetAutoWindowLevel(False)


@contextlib.contextmanager
def node_change(node):
    """Several changes to a node, told to its observers once."""
    was = node.StartModify()
    try:
        yield
    finally:
        node.EndModify(was)


def describe(volume, facts: Mapping[str, object]) -> None:
    """Write what made this volume into its attributes (saved with the scene and shown by the Data module)."""
    for key, value in facts.items():
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        volume.SetAttribute(ATTRIBUTE + key, text)


def facts_of(volume) -> dict[str, str]:
    """What `describe` wrote."""
    names = [name for name in volume.GetAttributeNames() if name.startswith(ATTRIBUTE)]
    return {name[len(ATTRIBUTE) :]: volume.GetAttribute(name) for name in names}


def result_name(source) -> str:
    return f"{source.GetName()} denoised"
