"""What alerts say: the promises on their numbers that a program may rely on."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly import announce, reference
from anomaly.registry import Registry


def test_shares_never_add_up_to_more_than_one() -> None:
    registry = Registry()
    asset = registry.asset("press")
    registry.columns(asset, [f"s{i}" for i in range(5)])
    tag = reference.allocate(1, 5, 20, 20)["tag"]
    random = np.random.default_rng(0)
    for _ in range(500):
        found = announce._contributions(
            registry, asset, tag, random.random(5), np.zeros(5), np.ones(5), np.zeros(5))
        total = sum(part.share for part in found)
        assert total <= 1.0  # to the last bit, in whatever order they are added
        assert total == pytest.approx(1.0, abs=1e-11)


def test_a_share_too_small_to_state_is_not_named() -> None:
    registry = Registry()
    asset = registry.asset("press")
    registry.columns(asset, ["large", "none"])
    tag = reference.allocate(1, 2, 20, 20)["tag"]
    found = announce._contributions(
        registry, asset, tag, np.array([1.0, 1e-15]), np.zeros(2), np.ones(2), np.zeros(2))
    assert [part.sensor for part in found] == ["large"]
