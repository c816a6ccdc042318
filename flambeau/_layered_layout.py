"""Places the nodes of a directed acyclic graph in rows, so that edges are short and cross little.

The steps are those of K. Sugiyama, S. Tagawa, M. Toda, "Methods for visual understanding of
hierarchical system structures", IEEE Trans. SMC 11 (1981): rank, split long edges, order each
row by the mean position of the neighbours, then choose coordinates.
"""

from __future__ import annotations

from typing import NamedTuple

SWEEPS = 12
BEND_WIDTH = 8.0  # the room a long edge takes where it passes a row


class Point(NamedTuple):
    x: float
    y: float


class Layout(NamedTuple):
    """Centres are (x, rank); the result of the computation has rank 0, its inputs rank 1, ..."""

    centres: list[tuple[float, int]]
    edges: list[tuple[int, int, list[tuple[float, int]]]]  # source, target, bends between them
    width: float
    ranks: int


def place(widths: list[float], inputs: list[list[int]], gap: float) -> Layout:
    """Places node 0 (the result) and everything it is computed from.

    Args:
        widths: the width of each node.
        inputs: for each node the nodes it is computed from.
        gap: the least room between neighbours in a row.
    """
    rank = _rank(inputs)
    weights = _weights(inputs, rank)
    widths = list(widths)
    chains = []
    links: list[tuple[int, int]] = []  # between adjacent rows: upper node, lower node
    for target, sources in enumerate(inputs):
        for source in sources:
            chain = [source]
            for row in range(rank[source] - 1, rank[target], -1):
                chain.append(len(widths))
                widths.append(BEND_WIDTH)
                weights.append(weights[source])
                rank.append(row)
            chain.append(target)
            links += zip(chain, chain[1:])
            chains.append(chain)

    rows: list[list[int]] = [[] for _ in range(max(rank) + 1)]
    for node, row in enumerate(rank):
        rows[row].append(node)
    neighbours: list[list[tuple[int, float]]] = [[] for _ in widths]
    for upper, lower in links:
        neighbours[upper].append((lower, weights[upper]))
        neighbours[lower].append((upper, weights[upper]))
    _order(rows, rank, neighbours)
    x = _coordinates(rows, neighbours, widths, gap)

    left = min(position - width / 2 for position, width in zip(x, widths))
    right = max(position + width / 2 for position, width in zip(x, widths))
    centres = [(position - left, row) for position, row in zip(x, rank)]
    edges = [(chain[0], chain[-1], [centres[bend] for bend in chain[1:-1]]) for chain in chains]
    return Layout(centres[: len(inputs)], edges, right - left, len(rows))


def _rank(inputs: list[list[int]]) -> list[int]:
    """The longest way from each node to the result, so that every edge leads to a lower rank."""
    users = [0] * len(inputs)
    for sources in inputs:
        for source in sources:
            users[source] += 1
    rank = [0] * len(inputs)
    ready = [0]
    for node in ready:  # grows while it is walked
        for source in inputs[node]:
            rank[source] = max(rank[source], rank[node] + 1)
            users[source] -= 1
            if not users[source]:
                ready.append(source)
    return rank


def _weights(inputs: list[list[int]], rank: list[int]) -> list[float]:
    """How strongly each node and the nodes it feeds pull each other into one straight column.

    It grows with the work behind the node, so the main line is straight and parameters hang
    beside it.
    """
    height = [0.0] * len(inputs)
    for node in sorted(range(len(inputs)), key=rank.__getitem__, reverse=True):
        height[node] = max((height[source] + 1 for source in inputs[node]), default=0.1)
    return [value**2 for value in height]


def _order(
    rows: list[list[int]], rank: list[int], neighbours: list[list[tuple[int, float]]]
) -> None:
    """Sorts each row by the mean place of the neighbours in the row before, up and down."""
    slot = {node: float(i) for row in rows for i, node in enumerate(row)}

    def mean_slot(node: int, from_rank: int) -> float:
        places = [slot[other] for other, _ in neighbours[node] if rank[other] == from_rank]
        return sum(places) / len(places) if places else slot[node]

    up = range(1, len(rows))
    for sweep in range(SWEEPS):
        step = -1 if sweep % 2 == 0 else 1
        for row in up if step < 0 else reversed(range(len(rows) - 1)):
            means = {node: mean_slot(node, row + step) for node in rows[row]}
            rows[row].sort(key=means.__getitem__)
            slot.update((node, float(i)) for i, node in enumerate(rows[row]))


def _coordinates(
    rows: list[list[int]],
    neighbours: list[list[tuple[int, float]]],
    widths: list[float],
    gap: float,
) -> list[float]:
    """Moves each row, again and again, as near to its neighbours as its order allows."""
    x = [0.0] * len(widths)
    for row in rows:
        position = 0.0
        for node in row:
            x[node] = position + widths[node] / 2
            position += widths[node] + gap
    for sweep in range(8 * SWEEPS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wished, pulls = [], []
            for node in row:
                pull = sum(weight for _, weight in neighbours[node]) or 1.0
                total = sum(x[other] * weight for other, weight in neighbours[node])
                wished.append(total / pull if neighbours[node] else x[node])
                pulls.append(pull)
            steps = [0.0]
            for before, after in zip(row, row[1:]):
                steps.append(steps[-1] + (widths[before] + widths[after]) / 2 + gap)
            for node, position in zip(row, _separate(wished, pulls, steps)):
                x[node] = position
    return x


def _separate(wished: list[float], pulls: list[float], steps: list[float]) -> list[float]:
    """The positions nearest to the wished ones (weighted least squares) that keep their order.

    `steps` are the positions of the row when packed; subtracting them leaves isotonic regression,
    which merging of neighbours that stand in each other's way solves exactly.
    """
    groups: list[tuple[float, float, int]] = []  # mean, weight, number of members
    for wish, pull, step in zip(wished, pulls, steps):
        mean, weight, count = wish - step, pull, 1
        while groups and groups[-1][0] > mean:
            other, other_weight, other_count = groups.pop()
            mean = (mean * weight + other * other_weight) / (weight + other_weight)
            weight, count = weight + other_weight, count + other_count
        groups.append((mean, weight, count))
    means = [mean for mean, _, count in groups for _ in range(count)]
    return [mean + step for mean, step in zip(means, steps)]
