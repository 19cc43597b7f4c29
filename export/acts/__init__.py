"""Files for the GNN plugin of ACTS: models in the form that it feeds, their configuration, and code that sets every option."""
