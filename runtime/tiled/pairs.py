"""Features of pairs of hits, as in trkx.models.geometry, for a vector of edges at a time.

Written column by column ([features, tile rows]), so that no transposition is needed: the product that reads them takes one
number at a time anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from trkx.runtime.tiled.emit import FLOAT, INT32, INT64, POINTER, Code, Module, Value
from trkx.runtime.tiled.maths import sine, tanh

PAIR_FEATURES = 11
TINY = 1e-12


def pair_features(module: Module, scales: tuple[float, float, float], column: int) -> Value:
    """Return the function (r, phi, z, source, target, out, rows) that writes 11 features of each edge to columns of `column`.

    r, phi, z: float32 inputs of all hits, times `scales` they are m, radians, m. source, target: int32 of the tile's edges.
    """
    lanes = module.lanes

    def body(code: Code, arguments: Sequence[Value]) -> None:
        r, phi, z, source, target, out, rows = arguments
        b = code.b

        def gather(values: Value, index: Value, first: Value) -> Value:
            found = ir.Constant(code.vector, ir.Undefined)
            for lane in range(lanes):
                place = b.add(first, code.integer(lane))
                inside = b.select(b.icmp_signed("<", place, rows), place, b.sub(rows, code.integer(1)))
                one = code.scalar(values, b.sext(code.scalar(index, inside, INT32), INT64), FLOAT)
                found = b.insert_element(found, one, ir.Constant(INT32, lane))
            return found

        def times(value: Value, factor: float) -> Value:
            return code.mul(value, code.number(factor))

        def root(value: Value) -> Value:
            return code.call("sqrt", code.add(value, code.number(TINY)))

        def minimum(a: Value, c: Value) -> Value:
            return b.select(b.fcmp_ordered("<", a, c), a, c)

        def group(first: Value) -> None:
            one = code.number(1.0)
            r_in, r_out = (gather(r, index, first) for index in (source, target))
            phi_in, phi_out = (gather(phi, index, first) for index in (source, target))
            z_in, z_out = (gather(z, index, first) for index in (source, target))
            r_a, r_b, z_a = times(r_in, scales[0]), times(r_out, scales[0]), times(z_in, scales[2])
            dr, dz = times(code.sub(r_out, r_in), scales[0]), times(code.sub(z_out, z_in), scales[2])
            dphi = times(code.sub(phi_out, phi_in), scales[1])
            sin, half = sine(code, dphi), sine(code, times(dphi, 0.5))
            chord = root(code.fma(code.mul(times(r_a, 4.0), r_b), code.mul(half, half), code.mul(dr, dr)))
            curvature = code.div(sin, code.add(chord, code.number(1e-6)))
            farther = b.select(b.fcmp_ordered(">", r_a, r_b), r_a, r_b)
            limit = code.div(one, code.fma(farther, farther, code.number(TINY)))
            square = minimum(code.mul(curvature, curvature), limit)
            q_a, q_b = code.mul(code.mul(square, r_a), r_a), code.mul(code.mul(square, r_b), r_b)

            def arc(q: Value) -> Value:
                return code.mul(q, code.fma(q, code.number(3.0 / 40.0), code.number(1.0 / 6.0)))

            arc_a, arc_b = arc(q_a), arc(q_b)
            rising = code.fma(code.add(q_a, q_b), code.number(3.0 / 40.0), code.number(1.0 / 6.0))
            slope = code.mul(code.mul(square, code.add(r_a, r_b)), rising)
            ds = code.mul(dr, code.fma(r_a, slope, code.add(one, arc_b)))
            s_a = code.fma(r_a, arc_a, r_a)
            length = root(code.fma(ds, ds, code.mul(dz, dz)))
            cross = code.sub(code.mul(z_a, ds), code.mul(s_a, dz))

            def soft(a: Value, c: Value, scale: float) -> Value:
                return code.div(a, root(code.fma(a, a, times(code.mul(c, c), scale * scale))))

            features = [
                times(dr, 4.0),
                times(dz, 2.0),
                times(sin, 8.0),
                tanh(code, times(curvature, 1.5)),
                tanh(code, times(chord, 20.0)),
                code.div(dz, length),
                code.div(ds, length),
                soft(cross, ds, 0.1),
                times(tanh(code, times(code.div(cross, length), 0.5)), 10.0),
                soft(sin, dr, 1.0),
                tanh(code, times(root(code.fma(dr, dr, code.mul(dz, dz))), 3.0)),
            ]
            for number, feature in enumerate(features):
                code.store(feature, out, b.add(first, code.integer(number * column)))

        code.loop(code.integer(0), rows, lanes, group)

    name = f"pairs_{column}_" + "_".join(repr(scale) for scale in scales)
    return module.function(name, [POINTER] * 6 + [INT64], body)
