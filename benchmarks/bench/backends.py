"""Every way to evaluate the bundle's forests on this machine: which is the fastest, for one patch and for a batch?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.benchmarks.bench.clock import Clock
from lsd.benchmarks.bench.figures import throughput_figures
from lsd.benchmarks.bench.percentiles import NotMeasured
from lsd.benchmarks.bench.scenarios import Query, offline
from lsd.benchmarks.bench.subject import Subject
from lsd.benchmarks.bench.windows import Rule
from lsd.runtime.chain import Chain
from lsd.runtime.errors import LsdError
from lsd.runtime.forest.backends import BACKENDS

SIZES = ("one", "batch")  # patches a call: one, and as many as an offline query
Rows = Mapping[str, NDArray[np.float32]]  # forest -> (n, feature)


def measure_backends(
    subject: Subject, batch: int, clock: Clock, rule: Rule, began: Callable[[str], None]
) -> dict[str, Any]:
    """Backend -> figures of `one` patch and of a `batch` a call, or why there are none; {} without a forest.

    Every forest of the configuration gives its log-odds, in one thread; statistics are there already. Rows differ from
    call to call: one row again and again would let the processor learn its branches.

    Args:
        began: told the name of each backend.
    """
    rows = subject.chain.features(subject.configuration, subject.pixels, subject.configuration.bands)
    if not rows:
        return {}
    found: dict[str, Any] = {}
    for name in (one for one in BACKENDS if one != "auto"):
        began(name)
        try:
            chain = subject.chain if name == subject.chain.backend else Chain(subject.bundle, name, opened={})
        except LsdError as error:
            found[name] = NotMeasured(" ".join(str(error).split())).to_json()
            continue
        found[name] = {
            size: throughput_figures(offline(_query(chain, rows, patches), clock, rule, patches), patches)
            for size, patches in zip(SIZES, (1, batch), strict=True)
        }
    return found


def _query(chain: Chain, rows: Rows, patches: int) -> Query:
    n = len(next(iter(rows.values())))
    starts = range(0, n - patches + 1, patches)
    turn = cycle([[(chain.forests[key], one[at : at + patches]) for key, one in rows.items()] for at in starts])

    def ask(_: int) -> object:
        return [forest.margins(one) for forest, one in next(turn)]

    return ask
