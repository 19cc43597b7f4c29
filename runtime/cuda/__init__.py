"""The pipeline on a GPU: neighbours, networks and components there, kernels in Triton with a twin in plain torch for each.

Importing a module here loads torch, but for `engines.table`, which names the engines.
"""
