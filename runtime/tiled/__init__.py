"""Tiled execution of the networks on a CPU: machine code made for each network's own shapes, one visit to each tile of edges."""
