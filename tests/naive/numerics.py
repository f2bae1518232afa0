"""The robust reference of a column as one would write it with numpy."""

from __future__ import annotations

import numpy as np


def robust_reference(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre, scale and whether there are enough values, per column of ``rows`` (NaN = missing)."""
    columns = rows.shape[1]
    centre, scale, known = np.zeros(columns), np.ones(columns), np.zeros(columns, np.bool_)
    for c in range(columns):
        values = np.clip(rows[np.isfinite(rows[:, c]), c], -1e100, 1e100)
        if values.size < 8:
            continue
        bottom, low, middle, high, top = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95))
        if top > bottom:
            reach = 10.0 * (top - bottom)
            values = np.clip(values, middle - reach, middle + reach)
        spread = max((high - low) / 1.349, 0.5 * float(np.std(values)))
        given = np.sort(np.clip(rows[np.isfinite(rows[:, c]), c], -1e100, 1e100))
        steps = np.diff(given)
        steps = steps[steps > 1e-9 * (np.abs(given[1:]) + abs(middle))]
        if steps.size:
            spread = max(spread, float(steps.min()) * (1.0 / 12.0**0.5))
        if not spread > 1e-12 * abs(middle):
            spread = 0.01 * (abs(middle) if middle != 0.0 else 1.0)
        centre[c], scale[c], known[c] = middle, spread, True
    return centre, scale, known
