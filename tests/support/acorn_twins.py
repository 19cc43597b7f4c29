"""acorn's graph networks in plain torch, concatenating as that code base does: what checkpoints of it must compute.

`wrong` makes one part of a twin wrong, to show that comparisons can fail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

HyperParameters = Mapping[str, Any]


def make_mlp(
    style: str, size: int, sizes: Sequence[int], hp: HyperParameters, out: str | None, output_bn: bool = False,
    track: bool | None = None,
) -> nn.Sequential:
    """Return a chain as acorn ("acorn": output norms by flags, batch norms with weights) or gnn4itk_cf ("gnn4itk") makes it."""
    stored = bool(hp.get("track_running_stats")) if track is None else track

    def batch_norm(width: int) -> nn.Module:
        if style == "acorn":
            return nn.BatchNorm1d(width, eps=6e-05, track_running_stats=stored, affine=True)
        return nn.BatchNorm1d(width, track_running_stats=False, affine=False)

    layers: list[nn.Module] = []
    before = size
    for width in sizes[:-1]:
        layers.append(nn.Linear(before, width))
        if hp["layernorm"]:
            layers.append(nn.LayerNorm(width, elementwise_affine=False))
        if hp.get("batchnorm"):
            layers.append(batch_norm(width))
        layers.append(getattr(nn, hp["hidden_activation"])())
        before = width
    layers.append(nn.Linear(before, sizes[-1]))
    if out is not None:
        if style == "gnn4itk" and hp["layernorm"]:
            layers.append(nn.LayerNorm(sizes[-1], elementwise_affine=False))
        if output_bn or (style == "gnn4itk" and hp.get("batchnorm")):
            layers.append(batch_norm(sizes[-1]))
        layers.append(getattr(nn, out)())
    return nn.Sequential(*layers)


def aggregate(kind: str, e: Tensor, index: Tensor, size: int) -> Tensor:
    """Return what PyTorch Geometric's aggregation of that name gives, [size, F]."""
    total = torch.zeros(size, e.shape[1], dtype=e.dtype).scatter_add_(0, index[:, None].expand_as(e), e)
    if kind in ("sum", "add"):
        return total
    if kind == "max":
        return torch.zeros_like(total).scatter_reduce_(0, index[:, None].expand_as(e), e, "amax", include_self=False)
    count = torch.bincount(index, minlength=size).clamp(min=1).to(e.dtype)[:, None]
    if kind == "mean":
        return total / count
    assert kind == "std"
    spread = (aggregate("mean", e * e, index, size) - (total / count) ** 2).clamp(min=1e-5).sqrt()
    return spread.masked_fill(spread <= 1e-5**0.5, 0.0)


def together(kinds: Sequence[str], e: Tensor, index: Tensor, size: int) -> Tensor:
    """Return MultiAggregation(kinds, mode="cat")."""
    return torch.cat([aggregate(kind, e, index, size) for kind in kinds], dim=-1)


JOINED = {
    "sum_max": ["max", "sum"], "mean_max": ["max", "mean"], "mean_sum": ["mean", "sum"], "sum_mean_max": ["max", "mean", "sum"],
}


class InteractionGNN(nn.Module):
    """acorn's InteractionGNN; with style "gnn4itk" that of gnn4itk_cf, whose joined words have an order of their own."""

    def __init__(self, hp: HyperParameters, style: str = "acorn", wrong: str = "") -> None:
        super().__init__()
        self.hp, self.wrong = hp, wrong
        aggregation = hp.get("aggregation", ["sum"])
        self.kinds = JOINED.get(aggregation, [aggregation]) if isinstance(aggregation, str) else aggregation
        if wrong == "aggregations":
            self.kinds = self.kinds[::-1]
        h, out, nodes, edges = hp["hidden"], hp.get("output_activation"), hp["nb_node_layer"], hp["nb_edge_layer"]
        node_in = (1 + 2 * len(self.kinds)) * h
        self.node_encoder = make_mlp(style, len(hp["node_features"]), [h] * nodes, hp, out)
        self.edge_encoder = make_mlp(style, 2 * h, [h] * edges, hp, out)
        if hp.get("edge_net_recurrent", True):
            self.edge_network = make_mlp(style, 3 * h, [h] * edges, hp, out)
        else:
            self.edge_networks = nn.ModuleList(make_mlp(style, 3 * h, [h] * edges, hp, out) for _ in range(hp["n_graph_iters"]))
        if hp.get("node_net_recurrent", True):
            self.node_network = make_mlp(style, node_in, [h] * nodes, hp, out)
        else:
            self.node_networks = nn.ModuleList(make_mlp(style, node_in, [h] * nodes, hp, out) for _ in range(hp["n_graph_iters"]))
        self.output_edge_classifier = make_mlp(style, 3 * h, [h] * edges + [1], hp, None)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        start, end = edge_index
        if self.hp.get("undirected"):
            start, end = torch.cat([start, end]), torch.cat([end, start])
        x = self.node_encoder(x)
        e = self.edge_encoder(torch.cat([x[start], x[end]], dim=1))
        for i in range(self.hp["n_graph_iters"]):
            x, e = self.message_step(x, start, end, e, i)
        scores = self.output_edge_classifier(torch.cat([x[start], x[end], e], dim=1)).squeeze(-1)
        if self.hp.get("undirected") and self.wrong != "one direction":
            return scores.view(2, -1).mean(dim=0)
        return scores[: edge_index.shape[1]]

    def message_step(self, x: Tensor, start: Tensor, end: Tensor, e: Tensor, i: int) -> tuple[Tensor, Tensor]:
        places = (start, end) if self.wrong == "start first" else (end, start)
        messages = torch.cat([together(self.kinds, e, place, x.shape[0]) for place in places], dim=-1)
        node_network = self.node_network if self.hp.get("node_net_recurrent", True) else self.node_networks[i]
        x_out = node_network(torch.cat([x, messages], dim=-1))
        read = x if self.wrong == "old nodes" else x_out
        edge_network = self.edge_network if self.hp.get("edge_net_recurrent", True) else self.edge_networks[i]
        e_out = edge_network(torch.cat([read[start], read[end], e], dim=-1))
        return (x_out + x, e_out + e) if self.wrong == "residual" else (x_out, e_out)


class InteractionConv(nn.Module):
    """The layer of acorn's PyG networks, without the framework around it."""

    def __init__(
        self, style: str, node_in: int, edge_in: int, hp: HyperParameters, nodes: int, edges: int, out: str | None
    ) -> None:
        super().__init__()
        h = hp["hidden"]
        self.edge_network = make_mlp(style, edge_in, [h] * edges, hp, out, track=False)
        self.node_network = make_mlp(style, node_in, [h] * nodes, hp, out, track=False)

    def forward(
        self, edge_index: Tensor, x: Tensor, e: Tensor, kinds: Sequence[str], apart: bool, order: str = "xm"
    ) -> tuple[Tensor, Tensor]:
        to_end, to_start = (together(kinds, e, edge_index[place], x.shape[0]) for place in (1, 0))
        messages = torch.cat([to_end, to_start], dim=1) if apart else to_end + to_start
        x = self.node_network(torch.cat([x, messages] if order == "xm" else [messages, x], dim=1))
        return x, self.edge_network(torch.cat([x[edge_index[0]], x[edge_index[1]], e], dim=1))


class InteractionGNNWithPyG(nn.Module):
    """acorn's InteractionGNNWithPyG up to its final sigmoid; `conv_out`: output activation of its layers."""

    def __init__(self, hp: HyperParameters, style: str = "acorn", conv_out: str | None = None) -> None:
        super().__init__()
        self.hp = hp
        self.kinds = hp.get("aggregation", ["sum"])
        h, out, nodes, edges = hp["hidden"], hp.get("output_activation"), hp["nb_node_layer"], hp["nb_edge_layer"]
        self.node_encoder = make_mlp(style, len(hp["node_features"]), [h] * nodes, hp, out)
        self.edge_encoder = make_mlp(style, 2 * h, [h] * edges, hp, out)

        def conv() -> InteractionConv:
            return InteractionConv(style, (1 + 2 * len(self.kinds)) * h, 3 * h, hp, nodes, edges, conv_out or out)

        shared = conv()
        self.convs = nn.ModuleList(shared if hp.get("recurrent") else conv() for _ in range(hp["n_graph_iters"]))
        self.output_edge_classifier = make_mlp(style, 3 * h, [h] * edges + [1], hp, None)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        start, end = edge_index
        x = self.node_encoder(x)
        e = self.edge_encoder(torch.cat([x[start], x[end]], dim=1))
        for conv in self.convs:
            x, e = conv(edge_index, x, e, self.kinds, True)
        return self.output_edge_classifier(torch.cat([x[start], x[end], e], dim=1)).squeeze(-1)


class InteractionGNN2(nn.Module):
    """acorn's InteractionGNN2; `jit`: its TorchScript forms and early versions, which know no `aggr`. Up to a final sigmoid."""

    def __init__(self, hp: HyperParameters, style: str = "acorn", jit: bool = False, wrong: str = "") -> None:
        super().__init__()
        self.hp, self.wrong = hp, wrong
        self.kind = "sum" if jit or hp.get("aggr", "sum") == "sum" else "mean"
        h, out, steps = hp["hidden"], hp["output_activation"], hp["n_graph_iters"]
        nodes, edges = [h] * hp["n_node_net_layers"], [h] * hp["n_edge_net_layers"]
        concat, apart = hp["concat"], hp["in_out_diff_agg"]
        node_in = ((4 if apart else 3) if concat else (3 if apart else 2)) * h
        edge_in = 6 * h if concat else 3 * h
        out_bn = bool(hp.get("output_batch_norm"))
        self.node_encoder = make_mlp(style, len(hp["node_features"]), nodes, hp, out, out_bn)
        self.edge_encoder = make_mlp(style, len(hp.get("edge_features") or ()) or 2 * h, edges, hp, out, out_bn)
        self.edge_network: nn.Module = (
            make_mlp(style, edge_in, edges, hp, out, out_bn) if hp["edge_net_recurrent"]
            else nn.ModuleList(make_mlp(style, edge_in, edges, hp, out, out_bn) for _ in range(steps))
        )
        self.node_network: nn.Module = (
            make_mlp(style, node_in, nodes, hp, out, out_bn) if hp["node_net_recurrent"]
            else nn.ModuleList(make_mlp(style, node_in, nodes, hp, out, out_bn) for _ in range(steps))
        )
        self.edge_decoder = make_mlp(style, h, [h] * hp["n_edge_decoder_layers"], hp, out, out_bn)
        final, final_bn = hp["edge_output_transform_final_activation"], bool(hp.get("edge_output_transform_final_batch_norm"))
        self.edge_output_transform = make_mlp(style, h, [h, 1], hp, final, final_bn)
        if final == "Sigmoid":
            self.edge_output_transform = self.edge_output_transform[:-1]

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None = None) -> Tensor:
        src, dst = edge_index
        x = self.node_encoder(x)
        e = self.edge_encoder(edge_attr if edge_attr is not None else torch.cat([x[src], x[dst]], dim=-1))
        input_x, input_e = x, e
        for i in range(self.hp["n_graph_iters"]):
            if self.hp["concat"]:
                x, e = torch.cat([x, input_x], dim=-1), torch.cat([e, input_e], dim=-1)
            edge_network = self.edge_network if self.hp["edge_net_recurrent"] else self.edge_network[i]  # type: ignore[index]
            node_network = self.node_network if self.hp["node_net_recurrent"] else self.node_network[i]  # type: ignore[index]
            read = [x[src], x[dst], e] if self.wrong == "edge last" else [e, x[src], x[dst]]
            told = e = edge_network(torch.cat(read, dim=-1))
            to_dst, to_src = (aggregate(self.kind, told, place, x.shape[0]) for place in (dst, src))
            if self.wrong == "source first":
                to_dst, to_src = to_src, to_dst
            gathered = [to_dst, to_src] if self.hp["in_out_diff_agg"] else [to_dst + to_src]
            x = node_network(torch.cat([x, *gathered] if self.wrong == "node first" else [*gathered, x], dim=-1))
        return self.edge_output_transform(self.edge_decoder(e)).squeeze(-1)  # type: ignore[no-any-return]


class InteractionGNN2WithPyG(InteractionGNN2):
    """acorn's InteractionGNN2WithPyG: the networks of its parent are held and not used."""

    def __init__(self, hp: HyperParameters, style: str = "acorn", kind: str = "sum", wrong: str = "") -> None:
        super().__init__(hp, style, wrong=wrong)
        self.aggr = kind
        h = hp["hidden"]
        node_in = ((6 if hp["in_out_diff_agg"] else 4) if hp["concat"] else (3 if hp["in_out_diff_agg"] else 2)) * h
        sizes = (style, node_in, (4 if hp["concat"] else 3) * h, hp, hp["n_node_net_layers"], hp["n_edge_net_layers"])
        shared = InteractionConv(*sizes, hp["output_activation"])
        recurrent = hp["node_net_recurrent"] or hp["edge_net_recurrent"]
        self.convs = nn.ModuleList(
            shared if recurrent else InteractionConv(*sizes, hp["output_activation"]) for _ in range(hp["n_graph_iters"])
        )

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None = None) -> Tensor:
        src, dst = edge_index
        x = self.node_encoder(x)
        e = self.edge_encoder(edge_attr if edge_attr is not None else torch.cat([x[src], x[dst]], dim=-1))
        input_x, input_e = x.clone(), e.clone()
        for conv in self.convs:
            if self.hp["concat"]:
                x, e = torch.cat([x, input_x], dim=1), torch.cat([e, input_e], dim=1)
            x, e = conv(edge_index, x, e, [self.aggr], self.hp["in_out_diff_agg"], "mx" if self.wrong == "node last" else "xm")
        return self.edge_output_transform(self.edge_decoder(e)).squeeze(-1)  # type: ignore[no-any-return]
