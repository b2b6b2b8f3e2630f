"""Arrays to tensors and back without torch's numpy bridge, which older torch builds lack beside a newer numpy."""

from __future__ import annotations

import ctypes

import numpy as np
import torch
from torch import Tensor


def to_tensor(array: np.ndarray) -> Tensor:
    """A float32 tensor with a copy of the array, same shape."""
    values = np.array(array, dtype=np.float32, order="C")
    return shared(values) if values.size else torch.zeros(values.shape)


def shared(array: np.ndarray) -> Tensor:
    """A float32 tensor over the memory of an array, (K, J, I) float32 in the order of C, that may be written to."""
    return torch.frombuffer(array.reshape(-1), dtype=torch.float32).reshape(array.shape)


def to_array(tensor: Tensor) -> np.ndarray:
    """A float32 array with a copy of the tensor, same shape."""
    values = tensor.detach().to("cpu", torch.float32).contiguous()
    if values.numel() == 0:
        return np.zeros(tuple(values.shape), dtype=np.float32)
    buffer = (ctypes.c_char * (values.numel() * 4)).from_address(values.data_ptr())
    buffer.owner = values  # type: ignore[attr-defined]  # so that the memory stays as long as the array
    array = np.frombuffer(memoryview(buffer), dtype=np.float32).reshape(tuple(values.shape))
    return array.copy() if values.data_ptr() == tensor.data_ptr() else array


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """A float32 tensor on a device; a GPU takes it while it still works at what came before."""
    tensor = to_tensor(array)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
