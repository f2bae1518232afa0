"""MOA's half-space trees through capymoa, alone in an environment of its own.

    python -m venv /tmp/moa && /tmp/moa/bin/pip install capymoa
    python -m benchmarks.speed --only peers --moa /tmp/moa/bin/python

capymoa wants older versions of what this project uses, so it cannot be installed beside it: this
file is run by the interpreter that has it, imports nothing of the project, reads rows (a ``.npy``,
values 0 to 1) and prints one JSON object: CPU seconds of each pass over all rows, after as many
passes for Java's compiler, and versions. Without capymoa or Java it ends with what is missing.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from importlib import metadata

PASSES = 5


def main(path: str) -> None:
    """Score and learn every row, some passes for the compiler and some that count."""
    if shutil.which("java") is None:
        raise SystemExit("no Java")
    import numpy as np
    from capymoa.anomaly import HalfSpaceTrees
    from capymoa.stream import NumpyStream

    x = np.load(path)
    stream = NumpyStream(x, np.arange(len(x)) % 2, target_type="categorical")
    rows = []
    while stream.has_more_instances():
        rows.append(stream.next_instance())
    trees = HalfSpaceTrees(stream.get_schema(), window_size=250, number_of_trees=25, max_depth=10)
    taken = []
    for _ in range(2 * PASSES):
        began = time.process_time()
        for row in rows:
            trees.score_instance(row)
            trees.train(row)
        taken.append(time.process_time() - began)
    print(json.dumps({"seconds": taken[PASSES:], "version": metadata.version("capymoa")}))


if __name__ == "__main__":
    main(sys.argv[1])
