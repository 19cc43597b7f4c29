"""Safe ways to write segment sums in ONNX, and the table that says which target gets which."""
