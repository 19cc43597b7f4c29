"""The networks of a bundle on a GPU: fused kernels in Triton, each with a twin in plain torch."""
