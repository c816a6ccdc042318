"""What is done to a graph between recording and execution, one small file each."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from flambeau.compiler._graph import Graph
from flambeau.compiler._passes.common_subexpressions import common_subexpressions
from flambeau.compiler._passes.constant_folding import constant_folding
from flambeau.compiler._passes.dead_code import dead_code
from flambeau.compiler._passes.fusion import fusion
from flambeau.compiler._passes.programs_of_calls import programs_of_calls
from flambeau.compiler._passes.rename import rename
from flambeau.compiler._passes.schedule import schedule
from flambeau.compiler._passes.slices import slices
from flambeau.compiler._passes.updates import updates

PASSES: tuple[Callable[[Graph], None], ...] = (
    dead_code,
    programs_of_calls,
    rename,
    constant_folding,
    common_subexpressions,
    slices,
    fusion,
    updates,
    schedule,
)


def run_passes(graph: Graph) -> dict[str, float]:
    """Optimises a graph in place.

    Returns:
        The seconds that each pass took.
    """
    seconds = {}
    for run in PASSES:
        start = perf_counter()
        run(graph)
        seconds[run.__name__] = perf_counter() - start
    return seconds
