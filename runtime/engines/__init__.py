"""Engines that run the three networks of a bundle on a CPU: tiled machine code, ONNX Runtime, TorchScript, eager PyTorch."""

from trkx.runtime.engines.base import ENGINES, EdgeFilter, Engine, StreamingEngine, open_engine

__all__ = ["ENGINES", "EdgeFilter", "Engine", "StreamingEngine", "open_engine"]
