"""Names to indices: stable, limited, and restored exactly."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly.errors import CapacityError
from anomaly.registry import Registry


def test_indices_follow_first_appearance_and_stay() -> None:
    registry = Registry()
    assert [registry.asset(name) for name in ("b", "a", "b")] == [0, 1, 0]
    assert registry.columns(0, ["x", "y", "x"]).tolist() == [0, 1, 0]
    assert registry.column(1, "y") == 0
    assert registry.table[0, :2].tolist() == [0, 1]
    assert registry.table[1, 0] == 2
    assert registry.tag_count == 3


def test_the_table_grows_and_keeps_what_it_had() -> None:
    registry = Registry()
    for asset in range(40):
        index = registry.asset(f"m{asset}")
        registry.columns(index, [f"s{c}" for c in range(30)])
    tags = registry.table[:40, :30]
    assert np.array_equal(np.sort(tags.ravel()), np.arange(1200))
    assert (registry.table[:40, 30:] == -1).all()


def test_limits_name_themselves() -> None:
    registry = Registry(asset_limit=1, tag_limit=1)
    registry.column(registry.asset("a"), "s")
    with pytest.raises(CapacityError, match="1 assets"):
        registry.asset("b")
    with pytest.raises(CapacityError, match="1 tags"):
        registry.column(0, "t")


def test_a_manifest_restores_everything() -> None:
    registry = Registry()
    for asset, sensors in (("a", "xy"), ("b", "x"), ("a", "z")):
        registry.columns(registry.asset(asset), sensors)
    manifest = registry.to_manifest()
    copy = Registry()
    copy.load_manifest(manifest["assets"], manifest["sensors"], manifest["tags"])  # type: ignore[arg-type]
    assert copy.to_manifest() == manifest
    assert copy.tag_count == registry.tag_count
    assert np.array_equal(copy.table, registry.table)


def test_a_manifest_of_many_sensors_and_assets_comes_back() -> None:
    written = Registry()
    for a in range(20):
        written.columns(written.asset(f"m{a}"), [f"s{c}" for c in range(a)])
    read = Registry()
    manifest = written.to_manifest()
    read.load_manifest(manifest["assets"], manifest["sensors"], manifest["tags"])  # type: ignore[arg-type]
    assert read.to_manifest() == manifest
    for a in range(20):
        assert (read.table[a, :a] == written.table[a, :a]).all()
