"""Neighbours and components on a GPU: kernels in Triton, each with a twin in plain torch. Importing a module here loads torch."""
