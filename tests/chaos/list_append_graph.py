# SPDX-License-Identifier: Apache-2.0
"""The graph behind list_append.py: components, and the shortest cycles of a given shape inside them.

Edges have kinds. Tarjan's algorithm runs without recursion, as histories are deep. Whether a component has a cycle of a
shape is decided by components of a smaller or a doubled graph, in linear time; only then is the shortest one searched
for, so that histories without anomalies, or with one kind only, cost little.
"""
from __future__ import annotations

import collections
import dataclasses
from typing import Callable, Iterable, Iterator, Optional

WW, WR, RW, PROCESS, REALTIME = 1, 2, 4, 8, 16
DATA = WW | WR | RW
KIND_NAMES = {WW: "ww", WR: "wr", RW: "rw", PROCESS: "process", REALTIME: "realtime"}

SHAPES = ("G0", "G1c", "G-single", "G-nonadjacent", "G2-item")  # from the worst on
# (suffix, kinds beside those of the data, kinds of which each cycle needs one)
LOOKS = (("", 0, 0), ("-process", PROCESS, PROCESS), ("-realtime", PROCESS | REALTIME, REALTIME))


@dataclasses.dataclass(slots=True, frozen=True)
class Edge:
    origin: int
    to: int
    kind: int
    key: Optional[str] = None
    value: Optional[int] = None  # what explains it: the later write, the write read, the write missed


class Graph:
    def __init__(self, node_count: int) -> None:
        self.edges: list[list[Edge]] = [[] for _ in range(node_count)]

    def add(self, origin: int, to: int, kind: int, key: Optional[str] = None, value: Optional[int] = None) -> None:
        if origin != to:
            self.edges[origin].append(Edge(origin, to, kind, key, value))


def components(nodes: Iterable[int], successors: Callable[[int], Iterator[int]]) -> list[list[int]]:
    """Strongly connected components, each before those that lead to it. Tarjan (1972), with a stack of our own."""
    number: dict[int, int] = {}
    low: dict[int, int] = {}
    closed: set[int] = set()
    opened: list[int] = []
    found: list[list[int]] = []
    for root in nodes:
        if root in number:
            continue
        number[root] = low[root] = len(number)
        opened.append(root)
        path = [(root, successors(root))]
        while path:
            node, rest = path[-1]
            for after in rest:
                if after not in number:
                    number[after] = low[after] = len(number)
                    opened.append(after)
                    path.append((after, successors(after)))
                    break
                if after not in closed and number[after] < low[node]:
                    low[node] = number[after]
            else:
                path.pop()
                if path and low[node] < low[path[-1][0]]:
                    low[path[-1][0]] = low[node]
                if low[node] == number[node]:
                    group = []
                    while not group or group[-1] != node:
                        group.append(opened.pop())
                    closed.update(group)
                    found.append(group)
    return found


def _masked(graph: Graph, mask: int, inside: Optional[set[int]] = None) -> Callable[[int], Iterator[int]]:
    def successors(node: int) -> Iterator[int]:
        return (edge.to for edge in graph.edges[node] if edge.kind & mask and (inside is None or edge.to in inside))
    return successors


class _Component:
    """One strongly connected component under one look; all questions stay inside of it."""

    def __init__(self, graph: Graph, nodes: list[int], kinds: int, required: int) -> None:
        self.nodes, self.inside = nodes, set(nodes)
        self.kinds, self.required = kinds, required
        self.edges = {node: [edge for edge in graph.edges[node] if edge.kind & (DATA | kinds) and edge.to in self.inside]
                      for node in nodes}

    def all(self, mask: int) -> Iterator[Edge]:
        return (edge for node in self.nodes for edge in self.edges[node] if edge.kind & mask)

    def _groups(self, mask: int) -> dict[int, int]:
        """Components under a mask; their numbers never rise along an edge."""
        found = components(self.nodes, lambda node: (edge.to for edge in self.edges[node] if edge.kind & mask))
        return {node: number for number, group in enumerate(found) for node in group}

    def starts(self, start: int, others: int) -> list[Edge]:
        """The edges of kind `start` on closed walks of start | others that take a required edge."""
        of = self._groups(start | others)
        whole = {of[edge.origin] for edge in self.all((start | others) & self.required)
                 if of[edge.origin] == of[edge.to]} if self.required else set(of.values())
        return [edge for edge in self.all(start) if of[edge.origin] == of[edge.to] and of[edge.origin] in whole]

    def apart(self) -> list[Edge]:
        """The rw edges on closed walks on which no two rw edges follow each other (which take a required edge). Such
        walks are those of a graph of nodes twice: 2n, reached by another edge, and 2n + 1, reached by rw."""
        def steps(state: int) -> Iterator[tuple[int, Edge]]:
            for edge in self.edges[state >> 1]:
                if edge.kind != RW:
                    yield 2 * edge.to, edge
                elif not state & 1:
                    yield 2 * edge.to + 1, edge
        states = [2 * node + odd for node in self.nodes for odd in (0, 1)]
        found = components(states, lambda state: (after for after, _ in steps(state)))
        of = {state: number for number, group in enumerate(found) for state in group}
        whole = {of[state] for state in states for after, edge in steps(state)
                 if edge.kind & self.required and of[after] == of[state]} if self.required else set(of.values())
        return [edge for edge in self.all(RW)
                if of[2 * edge.origin] == of[2 * edge.to + 1] and of[2 * edge.origin] in whole]

    def single(self, starts: list[Edge]) -> list[Edge]:
        """Those from whose end a walk without rw may lead back: never against the order of its components."""
        of = self._groups(self.kinds | WW | WR)
        return [edge for edge in starts if of[edge.to] >= of[edge.origin]]

    def shortest(self, starts: list[Edge], others: int, apart: bool = False) -> Optional[list[Edge]]:
        """The shortest closed walk: one of `starts`, then `others`, one of the required kinds at least."""
        best: Optional[list[Edge]] = None
        order = self._groups(others) if not others & RW else None
        for start in starts:
            walk = self._walk(start, others, apart, len(best) if best else None, order)
            best = walk or best
            if best and len(best) == 2:
                break
        return best

    def _walk(self, start: Edge, others: int, apart: bool, limit: Optional[int],
              order: Optional[dict[int, int]]) -> Optional[list[Edge]]:
        """Breadth first over states (node, was the last edge rw, was a required edge taken), shorter than `limit`."""
        goal, required = start.origin, self.required
        least = order[goal] if order else 0
        first = (start.to, apart and start.kind == RW, bool(start.kind & required))
        came: dict[tuple[int, bool, bool], tuple[Optional[tuple[int, bool, bool]], Edge]] = {first: (None, start)}
        queue = collections.deque([(first, 1)])
        while queue:
            at, length = queue.popleft()
            if limit is not None and length + 1 >= limit:
                return None
            node, after_rw, taken = at
            for edge in self.edges[node]:
                if not edge.kind & others or (after_rw and edge.kind == RW) or (order and order[edge.to] < least):
                    continue
                state = (edge.to, apart and edge.kind == RW, taken or bool(edge.kind & required))
                if state in came:
                    continue
                came[state] = (at, edge)
                if edge.to == goal and not state[1] and (state[2] or not required):
                    return self._trace(came, state)
                queue.append((state, length + 1))
        return None

    @staticmethod
    def _trace(came: dict, state: Optional[tuple[int, bool, bool]]) -> list[Edge]:
        walk = []
        while state is not None:
            state, edge = came[state]
            walk.append(edge)
        return walk[::-1]

    def worst(self) -> tuple[str, list[Edge]]:
        """The worst shape that the component has, and its shortest cycle."""
        time = self.kinds
        for shape, kind, others in (("G0", WW, WW | time), ("G1c", WR, WW | WR | time)):
            walk = self.shortest(self.starts(kind, others), others)
            if walk:
                return shape, walk
        starts = self.apart()
        if starts:
            walk = self.shortest(self.single(starts), WW | WR | time)
            if walk:
                return "G-single", walk
            walk = self.shortest(starts, DATA | time, apart=True)
            if walk:
                return "G-nonadjacent", walk
        walk = self.shortest(self.starts(RW, DATA | time), DATA | time)
        return ("G2-item", walk) if walk else ("", [])


def cycles(graph: Graph) -> dict[str, list[Edge]]:
    """The classes of cycles that the graph has, each with the shortest one that was seen of it."""
    nodes = range(len(graph.edges))
    whole = [group for group in components(nodes, _masked(graph, ~0)) if len(group) > 1]
    found: dict[str, list[Edge]] = {}
    for suffix, kinds, required in LOOKS:
        for part in whole:
            for group in components(part, _masked(graph, DATA | kinds, set(part))):
                if len(group) == 1:
                    continue
                shape, walk = _Component(graph, group, kinds, required).worst()
                if shape and (shape + suffix not in found or len(walk) < len(found[shape + suffix])):
                    found[shape + suffix] = walk
    return found
