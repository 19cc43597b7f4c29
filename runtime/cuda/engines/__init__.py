"""Engines whose networks read and write tensors on a GPU: nothing is copied to the host between stages."""

from trkx.runtime.cuda.engines.base import DeviceEngine, DeviceFilter

__all__ = ["DeviceEngine", "DeviceFilter"]
