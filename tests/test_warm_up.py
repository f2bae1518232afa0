"""Nothing is compiled once the group is joined, whatever comes; in a process of its own each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from anomaly import later_rows
from tests.kafka_broker import ROOT

#: What a service meets after its start: every shape, faults, late readings, counters, a restart.
PROGRAM = """
import json, pathlib, sys
from anomaly import kernel
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from streams import fast_rows, kafka_state, settings, warm_up
from streams.kafka_state import Book
from tests import live_service, test_live_shapes
chosen = fast_rows.for_service(settings.load(pathlib.Path(sys.argv[1]), {}, {}))
warm_up.warm(chosen)
known = {id(k): len(k.signatures) for k in kernel._KERNELS}
shaped = list(test_live_shapes.encoded(list(live_service.stream(2500, 10, 17))))
plant = []
for k in range(1500):
    works = k // 100 % 4 != 3
    plant += [(b"mill", json.dumps({"asset": "mill", "ts": 1_700_000_000_000 + 10_000 * k, "values":
        {"parts_count": k - k % 2, "state": 6 if works else 10, "rejects": k // 50,
         "energy_kwh": k / 9, "product": 1 + k // 400 % 2, "heat": 50 + k % 7}}).encode())]
    plant += [(b"axis", json.dumps({"asset": "axis", "ts": 1_700_000_000_000 + 10_000 * k, "values":
        {"power_kw": 5 + (k % 12 if works else 0), "heat": 20 + k % 5}}).encode())]
late = [(key, value.replace(b'"ts": 17', b'"ts": 16')) for key, value in plant[-12:]]
poison = [(b"mill", text) for text in (b"{", b"[" * 50, b"\\xff\\xff\\xff\\xff\\x10\\0\\0\\0 no")]
lane = warm_up._lane(chosen, Monitor(chosen.monitor, Registry()), 0)
records, told_late = {}, []
for part in (shaped[:3000], shaped[3000:], plant, late, poison, plant[:4]):
    before = lane.counts["late"]
    lane.take(warm_up._packed(part, lane.position))
    told_late.append(lane.counts["late"] - before)
    for asset in range(len(lane.monitor.registry.assets)):
        lane.monitor.statement(asset)
    records |= lane.checkpoint_records({})
    latest = {key: value for key, value in records.items() if value is not None}
    found = kafka_state.restored(latest, chosen.monitor, 1000, 10_000)
    lane = warm_up._lane(chosen, found.monitor, lane.position, found.book)
grown = [f"{k.py_func.__module__}.{k.py_func.__name__}" for k in kernel._KERNELS
         if len(k.signatures) > known.get(id(k), 0)]
means = lane.monitor.arrays().get("later", {"asset": []})["asset"]
print(json.dumps([grown, told_late, means["stage"].tolist() if len(means) else []]))
"""

SETTINGS = {
    "as it comes": "",
    "everything": """
warm_up_rows = 300
[quality]
lateness_seconds = 30
overdue_seconds = 300
[losses]
line = ["mill", "axis"]
[regimes]
sensor = "product"
""",
    "means later": "warm_up_rows = 60\n",  # every 10 s is too fast: after an hour, of a minute
    "means": "[windows]\nrow_seconds = 60\n",
}


@pytest.mark.parametrize("name", SETTINGS)
def test_nothing_is_compiled_after_the_start(tmp_path: Path, name: str) -> None:
    path = tmp_path / "andon.toml"
    path.write_text(SETTINGS[name])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    compiled, told_late, stages = json.loads(done.stdout)
    assert compiled == []
    assert told_late[3] == 12, "what came late was not late"
    assert (later_rows.GROWN in stages) == (name == "means later"), stages
