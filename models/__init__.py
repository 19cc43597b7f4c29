"""The networks as torch modules, the one aggregation operator, checkpoint readers and the reference weights."""
