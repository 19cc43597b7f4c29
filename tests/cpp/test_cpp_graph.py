"""The graph of the C++ consumer against Python's: the same pairs, edges, components and clusters, to the last bit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from trkx.errors import InputError, SpecError
from trkx.runtime.edges import canonical, oriented
from trkx.runtime.events import open_events
from trkx.runtime.features import node_features
from trkx.runtime.labelling import connected_components, edge_contraction
from trkx.runtime.neighbours import radius_graph

EVENTS = Path(__file__).parents[1] / "data" / "pileup50"
MAX_PAIRS = 100_000_000


class Tool:
    """The program graph_tool, which answers as long as it is asked. folder: for the arrays that are exchanged."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen([str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.kernels = self.ask("kernels").split()

    def close(self) -> int:
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(30)

    def ask(self, *words: object) -> str:
        """Return the answer to a command; arrays become files."""
        said = []
        for n, word in enumerate(words):
            if isinstance(word, np.ndarray):
                path = self.folder / f"in{n}"
                word.tofile(path)
                word = path
            said.append(str(word))
        self.process.stdin.write(" ".join(said) + "\n")
        self.process.stdin.flush()
        state, _, answer = self.process.stdout.readline().rstrip("\n").partition(" ")
        if state != "ok":
            raise {"InputError:": InputError, "SpecError:": SpecError}.get(state, RuntimeError)(answer)
        return answer

    def labels(self, *words: object) -> np.ndarray:
        """Return what a command writes."""
        self.ask(*words, self.folder / "out")
        return np.fromfile(self.folder / "out", np.int64)

    def search(self, command, points, radius, k_max, max_pairs, kernels, *more):
        """Return the words of the answer, and the numbers that were written."""
        points = np.asarray(points, np.float32)
        how = (repr(float(radius)), "none" if k_max is None else k_max, max_pairs, kernels, *more)
        answer = self.ask(command, points, points.shape[1], *how, self.folder / "out").split()
        return [int(word) for word in answer], np.fromfile(self.folder / "out", np.int64)

    def neighbours(self, points, radius, k_max=None, max_pairs=MAX_PAIRS, kernels="fastest"):
        """Return pairs and how many hits were truncated."""
        (truncated,), pairs = self.search("neighbours", points, radius, k_max, max_pairs, kernels)
        return pairs.reshape(2, -1), truncated

    def stream(self, points, radius, k_max=None, max_pairs=MAX_PAIRS, kernels="fastest", block_pairs=1 << 15):
        """Return pairs as they come, how many hits were truncated, and the sizes of the blocks."""
        (truncated, count, *sizes), pairs = self.search("stream", points, radius, k_max, max_pairs, kernels, block_pairs)
        assert len(pairs) == 2 * count == 2 * sum(sizes)
        return pairs.reshape(-1, 2).T, truncated, sizes


@pytest.fixture(scope="module")
def tool(cpp_tools, tmp_path_factory):
    made = Tool(cpp_tools / "graph_tool", tmp_path_factory.mktemp("graph"))
    yield made
    assert made.close() == 0


def in_order(pairs):
    return pairs[:, np.lexsort((pairs[1], pairs[0]))]


def assert_as_python(tool, points, radius, k_max=None, reference="grid"):
    """The same pairs and count from every kind of kernel, as a list and as a stream, as from Python."""
    expected = radius_graph(np.asarray(points, np.float32), radius, k_max, reference, threads=1)
    for kernels in tool.kernels:
        pairs, truncated = tool.neighbours(points, radius, k_max, kernels=kernels)
        np.testing.assert_array_equal(pairs, expected.pairs, err_msg=kernels)
        assert truncated == expected.truncated
    pairs, truncated, _ = tool.stream(points, radius, k_max)
    np.testing.assert_array_equal(in_order(pairs), expected.pairs)
    assert truncated == expected.truncated
    return expected.pairs


def clustered(rng, count, dim):
    centres = rng.normal(size=(count // 10 + 1, dim))
    return centres.repeat(10, axis=0)[:count] + rng.normal(0, 0.1, (count, dim))


CLOUDS = {
    "plane lattice": lambda rng: np.stack(np.meshgrid(np.arange(20.0), np.arange(20.0)), -1).reshape(-1, 2),
    "line": lambda rng: np.outer(rng.uniform(0, 30, 400), [1.0, 2.0, -1.0, 0.5]),
    "one dimension": lambda rng: rng.uniform(0, 100, (500, 1)),
    "eight, clustered": lambda rng: clustered(rng, 1500, 8),
    "twelve": lambda rng: 0.5 * clustered(rng, 600, 12),
    "thirty-two": lambda rng: 0.2 * rng.normal(size=(400, 32)),
    "a far outlier": lambda rng: np.vstack([rng.normal(size=(500, 3)), [[1e7, -1e7, 1e7]]]),
    "far from zero": lambda rng: rng.normal(size=(500, 4)) * 2 + 1e4,
    "two far groups": lambda rng: np.vstack([rng.normal(size=(200, 6)), rng.normal(size=(200, 6)) + 1e5]),
    "all equal": lambda rng: np.full((300, 8), 0.3),
    "pairs of equals": lambda rng: rng.normal(size=(200, 3)).repeat(2, axis=0),
    "two points": lambda rng: np.array([[0.0, 0.0], [1.0, 0.0]]),
    "tree of two levels": lambda rng: rng.uniform(0, 60, (20_000, 3)),
}


@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize("k_max", [None, 1, 4])
def test_the_same_pairs_as_python(tool, name, k_max, rng):
    assert_as_python(tool, CLOUDS[name](rng), 1.0, k_max)


@pytest.mark.parametrize("case", range(40))
def test_random_clouds(tool, case, rng):
    count, dim = int(rng.integers(2, 900)), int(rng.integers(1, 33))
    points = rng.normal(size=(count, dim))
    if case % 4 == 1:  # many distances are equal, and many are just the radius
        points = np.round(points)
    if case % 4 == 2:
        points = points[rng.integers(0, count // 5 + 1, count)]
    if case % 4 == 3:
        points *= 10.0 ** rng.integers(-2, 5, dim)
    distance = np.linalg.norm(points[rng.integers(0, count, 50)] - points[rng.integers(0, count, 50)], axis=1)
    radius = float(np.quantile(distance, rng.uniform(0.02, 0.6))) or 1.0
    for k_max in (None, int(rng.integers(1, 30))):
        assert_as_python(tool, points, radius, k_max, "brute")


@pytest.mark.parametrize("dim", range(1, 33))
def test_every_dimension(tool, dim, rng):
    assert assert_as_python(tool, rng.uniform(0, 2.5 / dim**0.5, (150, dim)), 1.0, reference="brute").shape[1]


@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 31, 32, 33, 255, 256, 257, 4096, 4097])
def test_blocks_that_are_just_full(tool, count, rng):
    points = rng.uniform(0, 1, (count, 2))
    pairs = assert_as_python(tool, points, 1.5 / max(1, count) ** 0.5)
    assert pairs.shape[1] > 0 or count < 16
    if count < 2:
        assert tool.stream(points, 1.0)[2] == []


SCALES = [1e-320, 1e-200, 1e-44, 1e-40, 1e-38, 1e-30, 1e-22, 4e-22, 1e-20, 1e-15, 1e-12, 1e-3, 1e3, 1e12]


@pytest.mark.parametrize("radius", SCALES)
def test_scales_and_denormal_numbers(tool, radius, rng):
    points = (rng.uniform(0, 5, (200, 3)) * max(radius, 1e-44)).astype(np.float32)
    assert_as_python(tool, points, radius, reference="brute")
    assert_as_python(tool, np.vstack([points, points[:20]]), radius, 2, reference="brute")


def test_the_largest_coordinates(tool, rng):
    points = np.where(rng.random((60, 32)) < 0.5, -1e15, 1e15).astype(np.float32)
    points[30:] = points[:30] * np.float32(0.9)
    assert assert_as_python(tool, points, 1e15, reference="brute").shape[1] == 30


@pytest.mark.parametrize("dim", [3, 8, 13])
def test_pairs_within_rounding_of_the_radius_follow_the_float64_sum(tool, dim, rng):
    base, step = rng.normal(size=(2, 2000, dim))
    step /= np.linalg.norm(step, axis=1, keepdims=True)
    base = (3 * base).astype(np.float32)
    points = np.concatenate([base, (base + 0.1 * step).astype(np.float32)])
    own = (points[:2000].astype(np.float64) - points[2000:]) ** 2
    exact = np.zeros(2000)
    for axis in range(dim):
        exact += own[:, axis]
    for n in (10, 1000):
        middle = float(np.sqrt(np.sort(exact)[n]))
        for radius in (np.nextafter(middle, 0.0), middle, np.nextafter(middle, 1.0)):
            pairs = assert_as_python(tool, points, float(radius), reference="brute")
            assert n - 1 <= (pairs[1] - pairs[0] == 2000).sum() <= 2000


def test_the_sum_that_decides_is_rounded_after_each_product_and_each_sum(tool, rng):
    """Radii are put just at and just below sums that a fused or reordered sum would miss."""
    points = (rng.normal(size=(300, 2, 7)) * np.array([1.0, 1e-3, 3.0, 1e-5, 0.7, 20.0, 1e-2])).astype(np.float32)
    told = 0
    for first, second in points:
        total, fused = 0.0, 0.0
        for a, b in zip(first.astype(np.float64).tolist(), second.astype(np.float64).tolist(), strict=True):
            total += (a - b) * (a - b)
            fused = float(np.longdouble(a - b) * np.longdouble(a - b) + np.longdouble(fused))
        radius = np.sqrt(total)
        below = float(np.nextafter(radius, 0.0))
        told += (fused <= below * below) != (total <= below * below) or (fused <= radius * radius) != (total <= radius * radius)
        for tried in (below, float(radius), float(np.nextafter(radius, np.inf))):
            assert tool.neighbours([first, second], tried)[0].shape[1] == (total <= tried * tried)
    assert told > 5


def test_enough_pairs_for_many_pieces_of_memory(tool, rng):
    points = rng.normal(0, 0.3, (6000, 3))
    for k_max in (None, 1, 20, 100):
        assert assert_as_python(tool, points, 0.25, k_max).shape[1] > 4000


def test_a_stream_hands_over_blocks_of_the_size_that_was_asked_for(tool, rng):
    points = rng.normal(0, 0.3, (1500, 3))
    expected = radius_graph(points.astype(np.float32), 0.2).pairs
    for size in (1, 7, 1000, 1 << 20):
        pairs, _, sizes = tool.stream(points, 0.2, block_pairs=size)
        assert all(found == size for found in sizes[:-1])
        assert 0 < sizes[-1] <= size
        np.testing.assert_array_equal(in_order(pairs), expected)
    assert (pairs[0] < pairs[1]).all()


@pytest.mark.parametrize("change", [
    {"radius": 0.0}, {"radius": -1.5}, {"radius": float("nan")}, {"radius": float("inf")}, {"radius": 1e26},
    {"k_max": 0}, {"k_max": -3},
    {"points": np.zeros((4, 33), np.float32)}, {"points": np.array([[0.0], [-2e15]], np.float32)},
    {"points": np.array([[0.0, 1.0], [np.nan, np.nan], [np.inf, 0.0], [1.0, 1.0], [0.0, -np.inf]], np.float32)},
    {"points": np.array([[0.0], [np.inf], [-np.inf]], np.float32)}, {"points": np.full((1, 3), np.nan, np.float32)},
    {"points": np.array([[np.float32(1.0000001e15)]], np.float32)},
    {"points": np.zeros((3000, 8), np.float32), "max_pairs": 100_000},
    {"points": np.zeros((40, 8), np.float32), "max_pairs": 779},
    {"points": np.zeros((40, 8), np.float32), "max_pairs": 779, "k_max": 3},
])
def test_the_same_errors_as_python(tool, change):
    given = {"points": np.zeros((4, 3), np.float32), "radius": 1.0, **change}
    with pytest.raises((InputError, SpecError)) as expected:
        radius_graph(**given)
    for found in (tool.neighbours, tool.stream):
        with pytest.raises(expected.type) as raised:
            found(**given)
        assert str(raised.value) == str(expected.value)


@pytest.mark.parametrize("k_max", [None, 3])
def test_so_many_pairs_are_not_too_many(tool, k_max):
    points = np.zeros((40, 8), np.float32)
    assert tool.neighbours(points, 1.0, k_max, max_pairs=780)[1] == (0 if k_max is None else 40)
    assert tool.stream(points, 1.0, k_max, max_pairs=780)[0].shape[1] == (780 if k_max is None else 117 - 3)


def test_points_that_are_no_rectangle_are_refused(tool):
    for dim, message in ((0, r"with D from 1 to 32, found \[0, 0\]"), (3, r"found 10 numbers, not a multiple of 3")):
        with pytest.raises(InputError, match=message):
            tool.ask("neighbours", np.zeros(10, np.float32), dim, 1.0, "none", 10, "fastest", "nowhere")


def test_a_real_event_in_the_embedding_of_the_reference_pipeline(tool):
    """40 thousand hits of mu = 50; the radius and the network are those that ship."""
    torch = pytest.importorskip("torch", reason="not checked: torch is not installed")
    from trkx.export.pipeline_folder import open_source
    from trkx.export.sample import reference_folder
    from trkx.models.checkpoint import load_checkpoint
    from trkx.models.networks import build_network

    source = open_source(reference_folder(), None, {})
    network = build_network(source.spec, "embedding")
    load_checkpoint(source.checkpoints["embedding"], network)
    x = torch.from_numpy(node_features(open_events([EVENTS])[0].read(), source.spec.features))
    with torch.inference_mode():
        points = network.eval()(x).numpy()
    radius = source.spec.needed_graph().radius
    assert assert_as_python(tool, points, radius).shape[1] > 500_000
    assert assert_as_python(tool, points, radius, 20).shape[1] > 100_000


@pytest.mark.parametrize("direction", ["by_radius", "by_index"])
def test_edges_are_turned_and_ordered_as_in_python(tool, direction, rng):
    position = np.round(rng.normal(0, 3, (300, 3))).astype(np.float32)  # many at the same distance
    pairs = rng.integers(0, 300, (2, 4000))
    edges = tool.labels("orient", pairs, position, direction).reshape(2, -1)
    np.testing.assert_array_equal(edges, oriented(pairs, position, direction))
    np.testing.assert_array_equal(tool.labels("canonical", edges, 300).reshape(2, -1), canonical(edges))
    empty = np.empty((2, 0), np.int64)
    assert tool.labels("orient", empty, np.empty((0, 3), np.float32), direction).size == 0
    assert tool.labels("canonical", empty, 0).size == 0


SHAPES = {
    "path in any order": lambda n, rng: np.stack([np.arange(n - 1), np.arange(1, n)])[:, rng.permutation(n - 1)],
    "path backwards": lambda n, rng: np.stack([np.arange(n - 1), np.arange(1, n)])[::-1, ::-1],
    "star of the highest": lambda n, rng: np.stack([np.full(n - 1, n - 1), np.arange(n - 1)])[:, rng.permutation(n - 1)],
    "tree": lambda n, rng: rng.permutation(n)[np.stack([np.arange(1, n), np.arange(1, n) // 2])],
    "sparse": lambda n, rng: rng.integers(0, n, (2, n // 2)),
    "dense": lambda n, rng: rng.integers(0, n, (2, 3 * n)),
    "none": lambda n, rng: np.empty((2, 0), np.int64),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("hits", [2, 17, 3000])
def test_components_are_python_s(tool, shape, hits, rng):
    edges = np.ascontiguousarray(SHAPES[shape](hits, rng))
    np.testing.assert_array_equal(tool.labels("components", edges, hits), connected_components(edges, hits, "scipy"))


@pytest.mark.parametrize("case", range(48))
def test_clusters_are_python_s(tool, case, rng):
    """Weights that tie, cancel, lie on half a unit or beyond the limit; hubs; parallel edges, also turned; self pairs."""
    hits, density = int(rng.integers(2, 400)), rng.uniform(0.5, 6.0)
    count = int(hits * density)
    edges = rng.integers(0, hits, (2, count))
    weight = rng.normal(rng.uniform(-1.0, 1.5), 2.0, count)
    if case % 6 == 1:
        weight = np.rint(weight)
    if case % 6 == 2:
        weight = rng.integers(-3, 4, count) * 0.5 * 2.0**-20  # halves of the unit
    if case % 6 == 3:  # hubs
        edges[0, rng.random(count) < 0.5] = rng.integers(0, min(3, hits))
    if case % 6 == 4:
        weight = rng.choice([np.inf, -np.inf, 1e300, -1e300, 1e4, -1e4, 9999.0, 0.0, -0.0, 5e-324], count)
    if case % 6 == 5:
        edges = np.concatenate([edges, edges[::-1]], axis=1)
        weight = np.concatenate([weight, -weight + rng.choice([0, 1e-6, 1], count)])
    found = tool.labels("contraction", edges, weight.astype(np.float64), hits)
    np.testing.assert_array_equal(found, edge_contraction(edges, weight, hits))


@pytest.mark.parametrize(("hits", "count", "shift"), [(3000, 30_000, 1.5), (20_000, 60_000, 0.0), (5000, 100_000, -1.0)])
def test_clusters_of_large_graphs_are_python_s(tool, hits, count, shift, rng):
    edges, weight = rng.integers(0, hits, (2, count)), rng.normal(shift, 2.0, count)
    expected = edge_contraction(edges, weight, hits)
    assert len(np.unique(expected)) < hits
    np.testing.assert_array_equal(tool.labels("contraction", edges, weight, hits), expected)
    tied = np.rint(weight)
    np.testing.assert_array_equal(tool.labels("contraction", edges, tied, hits), edge_contraction(edges, tied, hits))


@pytest.mark.parametrize("hits", [0, 1, 7])
def test_without_edges_every_hit_is_alone(tool, hits):
    empty = np.empty((2, 0), np.int64)
    assert tool.labels("components", empty, hits).tolist() == list(range(hits))
    assert tool.labels("contraction", empty, np.empty(0), hits).tolist() == list(range(hits))


@pytest.mark.parametrize(("edges", "weight"), [
    ([[0, 5], [1, 0]], [1.0, 1.0]), ([[0, 1], [1, -1]], [1.0, -1.0]), ([[0, 2**40], [1, 1]], [1.0, -1.0]),
    ([[0, -1], [1, 1]], [-1.0, -1.0]),
    ([[0, 9], [1, 1]], [np.nan, 1.0]), ([[0, 1], [1, 2]], [1.0]), ([[0, 1], [1, 2]], [1.0, np.nan]),
])
def test_the_same_refusals_of_edges_as_python(tool, edges, weight):
    edges, weight = np.array(edges), np.array(weight)
    with pytest.raises(InputError) as expected:
        edge_contraction(edges, weight, 5)
    with pytest.raises(InputError) as raised:
        tool.ask("contraction", edges, weight, 5, "nowhere")
    assert str(raised.value) == str(expected.value)
    if edges.max() < 5 and edges.min() >= 0:
        return
    turn = ["orient", edges, np.zeros((5, 3), np.float32), "by_radius"]
    for command in (["components", edges, 5], ["canonical", edges, 5], turn):
        with pytest.raises(InputError, match="there are 5 hits, counted from 0"):
            tool.ask(*command, "nowhere")


def test_edges_that_are_not_two_rows_are_refused(tool):
    three = np.arange(3)
    for command in (["components", three, 5], ["contraction", three, np.ones(1), 5], ["canonical", three, 5]):
        with pytest.raises(InputError, match=r"must be int64 \[2, E\], found 3 numbers"):
            tool.ask(*command, "nowhere")
    with pytest.raises(InputError, match=r"positions must be \[N, 3\], found 4 numbers"):
        tool.ask("orient", np.zeros((2, 1), np.int64), np.zeros(4, np.float32), "by_radius", "nowhere")
