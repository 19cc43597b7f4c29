"""What follows from positions: features of one hit and of a pair of hits, computed inside the networks from scaled r, phi, z.

Differences are taken on the scaled inputs, before anything is multiplied, so that they keep every digit the inputs have.
Ratios are "soft": a / sqrt(a^2 + (s b)^2), which is the ratio a / b squashed to (-1, 1) at scale s without a division by
a small number, so that float32 and float64 agree also for two hits at nearly the same radius.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trkx.errors import SpecError
from trkx.spec import FeatureSpec

METRE = 1000.0  # mm
TINY = 1e-12
NODE_FEATURES = 5
PAIR_FEATURES = 11


def _soft_ratio(a: Tensor, b: Tensor, scale: float) -> Tensor:
    return a / torch.sqrt(a * a + (scale * scale) * (b * b) + TINY)


class Geometry(nn.Module):
    """Reads r, phi and z from the columns of `x` that hold them, with the scales that the spec gives them."""

    def __init__(self, features: Sequence[FeatureSpec]) -> None:
        super().__init__()
        place = {feature.name: (column, feature.scale) for column, feature in enumerate(features)}
        for name in ("r", "phi", "z"):
            if name not in place:
                raise SpecError(f"geometry needs the feature '{name}'; features are {', '.join(place)}.")
        self.r_column, r_scale = place["r"]
        self.phi_column, self.phi_scale = place["phi"]
        self.z_column, z_scale = place["z"]
        self.other_columns = [column for name, (column, _) in place.items() if name not in ("r", "phi", "z")]
        self.node_width = NODE_FEATURES + len(self.other_columns)
        self.r_scale = r_scale / METRE
        self.z_scale = z_scale / METRE

    def node(self, x: Tensor) -> Tensor:
        """Return r (m), cos phi, sin phi, z (m), eta / 4 of each hit, then its other features as they are, [N, node_width].

        phi itself is left out: it jumps at +-pi, where tracks do not.
        """
        r = x[:, self.r_column] * self.r_scale
        phi = x[:, self.phi_column] * self.phi_scale
        z = x[:, self.z_column] * self.z_scale
        eta = torch.asinh(z / torch.clamp(r, min=1e-6))
        derived = torch.stack([r, torch.cos(phi), torch.sin(phi), z, eta * 0.25], dim=1)
        others = [x[:, column : column + 1] for column in self.other_columns]  # a list as index would bake in a device
        return torch.cat([derived, *others], dim=1) if others else derived

    def pair(self, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """Return features of each edge, [E, 11], all of order 1.

        A circle through the beam line and both hits gives the curvature 2 sin(dphi) / d and arc lengths; the straight
        line in (arc length, z) gives the slope and the place z0 where it meets the beam.
        """
        columns = torch.stack([x[:, self.r_column], x[:, self.phi_column], x[:, self.z_column]], dim=1)
        a, b = torch.index_select(columns, 0, source), torch.index_select(columns, 0, target)
        difference = b - a
        r_a, r_b = a[:, 0] * self.r_scale, b[:, 0] * self.r_scale
        z_a = a[:, 2] * self.z_scale
        dr = difference[:, 0] * self.r_scale
        dphi = difference[:, 1] * self.phi_scale
        dz = difference[:, 2] * self.z_scale
        sine, half = torch.sin(dphi), torch.sin(0.5 * dphi)
        chord = torch.sqrt(dr * dr + 4.0 * r_a * r_b * half * half + TINY)
        curvature = sine / (chord + 1e-6)
        # Arc length s = r (1 + u^2/6 + 3 u^4/40), u = r * curvature, u <= 1. The difference of two arcs is written out: taken
        # as s_b - s_a it would lose all digits for hits that are close to each other.
        farther = torch.maximum(r_a, r_b)
        square = torch.minimum(curvature * curvature, 1.0 / (farther * farther + TINY))
        q_a, q_b = square * r_a * r_a, square * r_b * r_b
        arc_a, arc_b = q_a * (1.0 / 6.0 + q_a * (3.0 / 40.0)), q_b * (1.0 / 6.0 + q_b * (3.0 / 40.0))
        slope = square * (r_a + r_b) * (1.0 / 6.0 + (q_a + q_b) * (3.0 / 40.0))
        ds = dr * (1.0 + arc_b + r_a * slope)
        s_a = r_a * (1.0 + arc_a)
        length = torch.sqrt(ds * ds + dz * dz + TINY)
        cross = z_a * ds - s_a * dz
        return torch.stack([
            4.0 * dr,
            2.0 * dz,
            8.0 * sine,
            torch.tanh(1.5 * curvature),
            torch.tanh(20.0 * chord),
            dz / length,
            ds / length,
            _soft_ratio(cross, ds, 0.1),
            10.0 * torch.tanh(0.5 * cross / length),
            _soft_ratio(sine, dr, 1.0),
            torch.tanh(3.0 * torch.sqrt(dr * dr + dz * dz + TINY)),
        ], dim=1)

