"""TensorRT engines of a bundle's files: profiles, padding, building, cache, running."""
