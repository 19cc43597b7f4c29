"""Engines that run the three networks of a bundle: ONNX Runtime, TorchScript, eager PyTorch."""

from trkx.runtime.engines.base import ENGINES, Engine, open_engine

__all__ = ["ENGINES", "Engine", "open_engine"]
