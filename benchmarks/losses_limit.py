"""How soon a slower cycle can be called at all: the best that knows everything, at the same budget.

Part of ``python -m benchmarks.losses``. Cycle times that remember a part of the last one (an AR(1))
tell less of a shift than independent ones: of a rise by d only ``d (1 − memory)`` is news in every
cycle but the first. The detector here is the cumulative sum of log-likelihood ratios on the
whitened cycles (Page, Biometrika 41 (1954); nothing has a shorter worst mean delay at the same rate
of false alarms: Moustakides, Annals of Statistics 14 (1986)). It is told what the engine has to
learn: the mean, the scatter, the memory, and even the size that it waits for. What it needs is what
no program can undercut, however it is made. Nothing of the engine is used here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from anomaly.batches import Float64

#: Healthy cycles from which a limit is read, of so many machines at once; and what is called then.
_MACHINES, _CYCLES = 2000, 4000
_BEFORE, _AFTER = 200, 1000
_STEPS = 12

Step = Callable[[Float64, Float64], Float64]


def soonest(deviation: float, memory: float, size: float, cycles_apart: float) -> dict[str, Any]:
    """Median cycles to a call, told everything, with a false one every ``cycles_apart`` cycles."""
    fresh = deviation * np.sqrt(1.0 - memory**2)  # what a cycle says that the last one did not
    first, later = size / fresh, size * (1.0 - memory) / fresh
    generator = np.random.default_rng(20_260_302)

    def step(total: Float64, news: Float64) -> Float64:
        """The sum after one more cycle: the rise went on, or begins here."""
        went_on = total + later * news - 0.5 * later**2
        begins = first * news - 0.5 * first**2
        return np.asarray(np.maximum(np.maximum(went_on, begins), 0.0))

    news = generator.normal(size=(_CYCLES, _MACHINES))
    low, high = 0.0, 30.0
    for _ in range(_STEPS):
        limit = 0.5 * (low + high)
        calls = _false_calls(step, news, limit)
        low, high = (limit, high) if calls * cycles_apart > news.size else (low, limit)
    delays = _delays(step, generator, first, later, high)
    return {
        "median_cycles": float(np.median(delays)),
        "called": f"{int((delays <= _AFTER).sum())}/{delays.size}",
        "limit_nats": round(high, 2),
    }


def _false_calls(step: Step, news: Float64, limit: float) -> int:
    """Calls on healthy cycles float64[n, machines]; a machine begins anew after each."""
    total = np.zeros(news.shape[1])
    calls = 0
    for row in news:
        total = step(total, row)
        over = total >= limit
        calls += int(over.sum())
        total[over] = 0.0
    return calls


def _delays(
    step: Step, generator: np.random.Generator, first: float, later: float, limit: float
) -> Float64:
    """Cycles from the rise to the call, of the machines that had not been called before."""
    total = np.zeros(_MACHINES)
    for _ in range(_BEFORE):
        total = step(total, generator.normal(size=_MACHINES))
        total[total >= limit] = 0.0
    found = np.full(_MACHINES, np.inf)
    for n in range(_AFTER):
        total = step(total, generator.normal(size=_MACHINES) + (first if n == 0 else later))
        found[(total >= limit) & np.isinf(found)] = n + 1.0
    return found
