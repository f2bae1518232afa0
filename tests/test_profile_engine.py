"""The reading of where the time goes: names of kernels, and which sample is whose."""

from __future__ import annotations

import struct

from benchmarks import profile_engine


def test_compiled_names_are_told_as_modules_and_functions() -> None:
    spoken = profile_engine.spoken
    assert spoken("_ZN7anomaly7windows11close_spansB2v8B56c8tJTI") == "`windows.close_spans`"
    assert spoken("_ZN7anomaly9detectors6memory4stepB3v21B56c8") == "`memory.step`"
    assert spoken("_ZN5numba7cpython7unicode5equalB2v1") == "numba's calls"
    assert spoken("NRT_decref") == "numba's calls"


def test_functions_of_an_object_file_are_found() -> None:
    names = b"\0first\0data\0second\0"
    entries = [(1, 2, 1, 0x10, 0x20), (7, 1, 3, 0, 8), (12, 2, 1, 0x40, 0x8)]
    table = b"".join(struct.pack("<IBBHQQ", n, kind, 0, section, at, size)
                     for n, kind, section, at, size in entries)
    headers = [bytes(64), _header(2, 64, len(table), 2), _header(3, 64 + len(table), len(names), 0)]
    start = bytearray(64)
    struct.pack_into("<Q", start, 40, 64 + len(table) + len(names))
    struct.pack_into("<H", start, 60, len(headers))
    code = bytes(start) + table + names + b"".join(headers)
    assert list(profile_engine.symbols(code)) == [("first", 1, 0x10, 0x20), ("second", 1, 0x40, 8)]


def _header(kind: int, at: int, size: int, link: int) -> bytes:
    return struct.pack("<IIQQQQIIQQ", 0, kind, 0, 0, at, size, link, 0, 0, 0)


def test_samples_go_to_the_function_that_holds_their_address() -> None:
    known = [(0x100, 0x140, "`a`"), (0x140, 0x150, "`b`")]
    listed = "\n".join((
        "  13f [unknown] ([JIT] tid 5)", "  140 [unknown] ([JIT] tid 5)", "",
        "  150 _PyEval_EvalFrameDefault (/usr/lib/libpython3.11.so.1.0)",
        "  7f00 __ieee754_log_fma (/usr/lib/libm.so.6)", "  7f01 read (/usr/lib/libc.so.6)"))
    counts = profile_engine.count(listed, known)
    assert counts == {"`a`": 1, "`b`": 1, "Python between the kernels": 1,
                      "logarithms of the C library": 1,
                      "the C library and the kernel of the system": 1}
    text = profile_engine.table(counts, 250.0, 1000)
    assert "| `a` | 20.0% | 50.0 |" in text
