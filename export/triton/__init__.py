"""A model repository for Triton Inference Server: each stage in ONNX, and the whole pipeline behind Triton's Python backend."""
