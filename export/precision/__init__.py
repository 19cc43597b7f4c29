"""Half precision inside ONNX files: converted after export from the float32 graph, float32 where sums and logits are made."""
