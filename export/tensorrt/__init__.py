"""What a bundle for TensorRT holds beside its ONNX files: profiles, measured from events."""
