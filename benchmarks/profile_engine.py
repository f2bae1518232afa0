"""Where the last nanoseconds go: a ``perf`` reading of the engine on the canonical plant.

    python -m benchmarks.profile_engine            # writes benchmarks/results/profile.md
    python -m benchmarks.profile_engine --fast     # a tenth of the plant, prints only

Linux's ``perf`` samples the process by its CPU time, 4,000 times a second, while whole seconds of
the plant go through ``Monitor.process``. It knows no names in compiled kernels, so they are told
from the kernels' own object code. A kernel that the compiler put into its caller counts there, so
they are compiled anew and each by itself where the program has one put into another: the plant
takes a little longer here than ``benchmarks.speed`` says.
"""

from __future__ import annotations

import argparse
import bisect
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import canonical_plant

RESULTS = Path(__file__).resolve().parent / "results" / "profile.md"
SAMPLES_PER_SECOND = 4000
#: Whole turns of the slowest level of the pyramid, whose blocks are of 16 rows.
SECONDS = 48
#: What takes less than this share stands together at the end.
LEAST_SHARE = 0.005
#: What is no kernel, by a part of its file's name.
OTHERS = (("_multiarray", "numpy"), ("_dispatcher", "numba's calls"), ("_nrt", "numba's calls"),
          ("_helperlib", "numba's calls"), ("libpython", "Python between the kernels"),
          ("python", "Python between the kernels"), ("libm", "logarithms of the C library"))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile_engine",
                                     description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="a tenth of the plant; prints only")
    options = parser.parse_args(arguments)
    if shutil.which("perf") is None:
        print("perf is not installed (Debian: linux-perf)", file=sys.stderr)
        return 2
    compile_apart()
    text = reading(canonical_plant.ASSETS // (10 if options.fast else 1))
    print(text, end="")
    if not options.fast:
        RESULTS.write_text(text)
    return 0


def reading(assets: int) -> str:
    """Sample the plant and say in a table where the time went."""
    monitor, second = canonical_plant.warm(assets)
    batches = [second(number) for number in range(SECONDS)]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "perf.data"
        perf = subprocess.Popen(
            ["perf", "record", "-e", "cpu-clock", "-F", str(SAMPLES_PER_SECOND), "-o", str(data),
             "-p", str(os.getpid())], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not data.exists() and perf.poll() is None:
            time.sleep(0.01)
        time.sleep(1.0)  # it attaches after it has opened its file
        began = time.process_time()
        for batch in batches:
            monitor.process(batch)
        spent = time.process_time() - began
        perf.send_signal(signal.SIGINT)
        perf.wait()
        listed = subprocess.run(["perf", "script", "-i", str(data), "-F", "ip,sym,dso"],
                                capture_output=True, text=True, check=True).stdout
    counts = count(listed, functions())
    per_reading = spent / sum(len(batch) for batch in batches) * 1e9
    return table(counts, per_reading, assets)


def table(counts: Counter[str], per_reading: float, assets: int) -> str:
    """The samples as markdown, the largest share first."""
    total = sum(counts.values())
    rows, small = [], 0
    for name, samples in counts.most_common():
        if samples < LEAST_SHARE * total:
            small += samples
            continue
        rows.append((name, samples))
    if small:
        rows.append(("all others", small))
    return "".join((
        "# Where the last nanoseconds go\n\n",
        f"`python -m benchmarks.profile_engine`: {total:,} samples of the CPU time of {SECONDS} "
        f"seconds of {assets:,} machines, {canonical_plant.SENSORS} sensors at "
        f"{canonical_plant.RATE} Hz, everything on; {per_reading:,.0f} ns a reading on average.\n"
        "\n| where | share | ns a reading |\n|---|---|---|\n",
        *(f"| {name} | {samples / total:.1%} | {samples / total * per_reading:.1f} |\n"
          for name, samples in rows)))


def count(listed: str, known: list[tuple[int, int, str]]) -> Counter[str]:
    """Samples by name; ``known``: first address, end and name of each compiled function."""
    starts = [first for first, _, _ in known]
    counts: Counter[str] = Counter()
    for line in listed.splitlines():
        found = re.match(r"\s*([0-9a-f]+)\s+(.*)", line)
        if found is None:
            continue
        address = int(found[1], 16)
        place = bisect.bisect(starts, address) - 1
        if place >= 0 and address < known[place][1]:
            counts[known[place][2]] += 1
            continue
        file = found[2].rpartition("(")[2]
        counts[next((what for part, what in OTHERS if part in file),
                    "the C library and the kernel of the system")] += 1
    return counts


def compile_apart() -> None:
    """Have every kernel compiled here, none of them into another; before any is loaded.

    What comes from the cache has no object code left: numba drops it once it is linked.
    """
    from numba.core import options

    from anomaly import kernel

    defaults: Any = options.DefaultOptions
    engine: Any = kernel
    if hasattr(defaults, "forceinline"):
        del defaults.forceinline  # ``kernel_inlined`` asks for it
    engine.cache_folder = lambda source: None


def functions() -> list[tuple[int, int, str]]:
    """First address, end and name of every function of the loaded kernels, in ascending order."""
    from anomaly import kernel

    found = []
    for dispatcher in kernel._KERNELS:
        for compiled in dispatcher.overloads.values():
            library = compiled.library
            code = library._get_compiled_object()
            entry = compiled.fndesc.llvm_func_name
            told = list(symbols(code))
            address = library.get_pointer_to_function(entry)
            for name, section, value in ((n, s, v) for n, s, v, _ in told if n == entry):
                found += [(address - value + at, address - value + at + size, spoken(one))
                          for one, its, at, size in told if its == section and name]
    return sorted(found)


def symbols(code: bytes) -> Iterator[tuple[str, int, int, int]]:
    """Name, section, offset and size of every function in an ELF object (64 bits, little end)."""
    first, = struct.unpack_from("<Q", code, 40)
    sections, = struct.unpack_from("<H", code, 60)
    headers = [struct.unpack_from("<IIQQQQIIQQ", code, first + 64 * k) for k in range(sections)]
    for header in headers:
        if header[1] != 2:  # SHT_SYMTAB
            continue
        names = headers[header[6]][4]
        for at in range(header[4], header[4] + header[5], 24):
            name, kind, _, section, value, size = struct.unpack_from("<IBBHQQ", code, at)
            if kind & 15 == 2 and size:  # STT_FUNC
                begin = names + name
                yield code[begin : code.index(b"\0", begin)].decode(), section, value, size


def spoken(mangled: str) -> str:
    """``_ZN7anomaly7windows11close_spansB2v8…`` -> ``windows.close_spans``."""
    parts, at = [], len("_ZN")
    while (found := re.match(r"\d+", mangled[at:])) is not None:
        begin = at + found.end()
        at = begin + int(found[0])
        parts.append(mangled[begin:at])
    if not parts or parts[0] != "anomaly":
        return "numba's calls"
    return f"`{'.'.join(part for part in parts[1:] if part != 'detectors')}`"


if __name__ == "__main__":
    sys.exit(main())
