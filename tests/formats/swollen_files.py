"""Small files that swell when they are read, each in a process whose memory is limited.

python swollen_files.py: a line for each file that is read, with what became of it. The limits are
scaled down with `maxRecordBytes`, so that the files are small.
"""

from __future__ import annotations

import bz2
import gzip
import json
import os
import resource
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import orc

# What readers import when they are used: it is not to count as theirs.
from proa.autoloader.options import parse
from proa.autoloader.tasks import Assignment, InferTask, opener_of, reader_of
from proa.formats.avro_container import varint
from proa.formats.binary_file import BINARY_FILE
from proa.formats.problems import ReadError
from proa.formats.source import OpenPart, Part
from proa.landing.event_span import event_span

MIB = 1 << 20
RECORD = 8 * MIB
MEMORY = 512 * MIB
"""What one file may take beside what the process has."""
XS = b"x" * MIB
TEXT = pa.schema([("a", pa.string()), ("_rescued_data", pa.string())])
VALUE = pa.schema([("value", pa.string())])
NUMBER = pa.schema([("a", pa.int64())])
WIDE = pa.schema([(f"c{i}", pa.string()) for i in range(20_000)])


def raw(*pieces: bytes) -> bytes:
    return b"".join(pieces)


def gz(*pieces: bytes) -> bytes:
    return gzip.compress(raw(*pieces), 1)


def parquet(values: pa.Array, *, dictionary: bool = True, **settings: object) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.table({"a": values}), sink, compression="zstd", use_dictionary=dictionary, **settings
    )
    return sink.getvalue().to_pybytes()


def orc_bytes(values: pa.Array) -> bytes:
    sink = pa.BufferOutputStream()
    orc.write_table(
        pa.table({"a": values}), sink, compression="zstd", dictionary_key_size_threshold=1.0
    )
    return sink.getvalue().to_pybytes()


def repeated(size: int, rows: int) -> pa.Array:
    indices = pa.array(np.zeros(rows, np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array(["x" * size]))


def nested(length: int) -> pa.Array:
    offsets = pa.array([0, length], pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(np.zeros(length, np.int8)))


def avro(type_: object, count: int, *pieces: bytes) -> bytes:
    """A file of one packed block: `count` records of the field `a`."""
    schema = {"type": "record", "name": "r", "fields": [{"name": "a", "type": type_}]}
    meta = {"avro.schema": json.dumps(schema).encode(), "avro.codec": b"deflate"}
    members = [
        varint(len(name)) + name.encode() + varint(len(value)) + value
        for name, value in meta.items()
    ]
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(raw(*pieces)) + packer.flush()
    head = b"Obj\x01" + varint(2) + b"".join(members) + varint(0) + bytes(16)
    return head + varint(count) + varint(len(block)) + block + bytes(16)


ITEMS = {"type": "array", "items": "int"}
FILES: dict[str, tuple[str, Callable[[], bytes], dict[str, str], pa.Schema, str]] = {
    # name: (the file's name, its bytes, options, the schema, what becomes of it)
    "line": ("f.json", lambda: raw(b'{"a":"', XS * 64, b'"}\n'), {}, TEXT, "large"),
    "packed line": ("f.json.gz", lambda: gz(b'{"a":"', XS * 64, b'"}\n'), {}, TEXT, "large"),
    "document": ("f.json", lambda: raw(b'{"a":"', XS * 64, b'"}'), {"multiLine": "true"}, TEXT, "large"),
    "array": ("f.json.gz", lambda: gz(b'[{"a":1}', b',\n{"a":"[,\\\\"}' * (3 * MIB), b"]"), {"multiLine": "true"}, TEXT, "3145729 rows"),
    "many values": ("f.json", lambda: raw(b'{"a":[0', b",{}" * (2 * MIB), b"]}\n"), {}, TEXT, "1 rows"),
    "many broken values": ("f.json", lambda: raw(b'{"a":[0', b",{}" * (2 * MIB), b"\n"), {}, TEXT, "1 rows"),
    "short lines, wide schema": ("f.json", lambda: b'{"c1":"1"}\n' * 5_000, {}, WIDE, "5000 rows"),
    "csv line": ("f.csv", lambda: raw(b"a,b\n1,", XS * 64, b"\n"), {}, TEXT, "large"),
    "csv quote": ("f.csv", lambda: raw(b'a,b\n1,"', (XS + b"\n") * 64), {"multiLine": "true"}, TEXT, "large"),
    "csv header": ("f.csv", lambda: raw(b"a," * 500_000, b"\n1\n"), {}, TEXT, "corrupt"),
    "csv row": ("f.csv", lambda: raw(b"a\n", b"1," * 3 * MIB, b"\n1\n"), {}, TEXT, "2 rows"),
    "csv short rows": ("f.csv", lambda: raw(b",".join(b"c%d" % i for i in range(20_000)), b"\n", b"1\n" * 5_000), {}, TEXT, "5000 rows"),
    "text line": ("f.txt.gz", lambda: gz(XS * 64), {}, VALUE, "large"),
    "text": ("f.txt.bz2", lambda: bz2.compress(XS * 32), {"wholetext": "true"}, VALUE, "large"),
    "bytes": ("f.bin", lambda: XS * 64, {}, BINARY_FILE, "large"),
    "parquet texts": ("f.parquet", lambda: parquet(repeated(MIB, 500)), {}, TEXT, "500 rows"),
    "parquet endless texts": ("f.parquet", lambda: parquet(repeated(MIB, MIB)), {}, TEXT, "large"),
    "parquet text": ("f.parquet", lambda: parquet(repeated(64 * MIB, 5)), {}, TEXT, "large"),
    "parquet plain text": ("f.parquet", lambda: parquet(pa.array(["x" * (64 * MIB)]), dictionary=False), {}, TEXT, "large"),
    "parquet beginnings": ("f.parquet", lambda: parquet(pa.array(["x" * 2 * MIB] * 100), dictionary=False, column_encoding={"a": "DELTA_BYTE_ARRAY"}), {}, TEXT, "100 rows"),
    "parquet list": ("f.parquet", lambda: parquet(nested(64 * MIB)), {}, TEXT, "large"),
    "parquet rows": ("f.parquet", lambda: parquet(pa.array(np.zeros(50_000_000, np.int64))), {}, NUMBER, "50000000 rows"),
    "orc texts": ("f.orc", lambda: orc_bytes(pa.array(["x" * MIB] * 200)), {}, TEXT, "200 rows"),
    "orc text": ("f.orc", lambda: orc_bytes(pa.array(["x" * (64 * MIB)])), {}, TEXT, "large"),
    "avro text": ("f.avro", lambda: avro("string", 1, varint(64 * MIB), XS * 64), {}, TEXT, "large"),
    "avro records": ("f.avro", lambda: avro("int", 4 * MIB, bytes(4 * MIB)), {}, NUMBER, "4194304 rows"),
    "avro list": ("f.avro", lambda: avro(ITEMS, 1, varint(64 * MIB), bytes(64 * MIB), b"\0"), {}, TEXT, "large"),
    "avro claim": ("f.avro", lambda: avro("string", 1 << 40, b"\0"), {}, TEXT, "corrupt"),
    "avro length": ("f.avro", lambda: avro("string", 1, varint(1 << 40)), {}, TEXT, "corrupt"),
}  # fmt: skip
FORMATS = {"txt": "text", "bin": "binaryFile"}


def options_of(name: str, written: dict[str, str]) -> dict[str, str]:
    kind = name.split(".")[1]
    size = {"maxRecordBytes": str(RECORD), "schemaEvolutionMode": "none"}
    return {"format": FORMATS.get(kind, kind), **size, **written}


def read(path: Path, written: dict[str, str], schema: pa.Schema) -> str:
    """What becomes of the file: its rows, or the kind of its problem."""
    options = parse(options_of(path.name, written), schema_given=False).reader
    part = OpenPart(Part(str(path), path.stat().st_size, 0), options, {})
    try:
        return f"{sum(map(len, reader_of(schema, options).read(part, path.name)))} rows"
    except ReadError as error:
        return f"{error.problem.kind}: {error.problem.detail}"


def infer(path: Path, written: dict[str, str]) -> str:
    """Infer from the file and look for its events, as shipping does; returns nothing of note."""
    options = parse(options_of(path.name, written), schema_given=False).reader
    if options.format not in {"text", "binaryfile"}:
        part = Part(str(path), path.stat().st_size, 0)
        task = InferTask(Assignment.of([[part]]), {}, options, True, frozenset())
        try:
            list(task([pa.record_batch({"partition": [0]})]))
        except ReadError as error:
            return str(error.problem.detail)
    event_span(path.name, path.read_bytes(), "a")
    return ""


def in_process(work: Callable[[], str], memory: int | None) -> str:
    """What the work returns, done in a process of its own with so much memory more."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        try:
            if memory is not None:
                pages = int(Path("/proc/self/statm").read_text().split()[0])
                limit = pages * resource.getpagesize() + memory
                resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            answer = work()
        except BaseException as error:  # noqa: BLE001 - told to the parent
            answer = f"raised {type(error).__name__}: {error}"
        os.write(writing, answer.encode()[:500])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    return answer if not status else f"died with the status {status}"


def main(names: Iterable[str]) -> None:
    for kind in ("parquet", "orc", "avro", "json"):
        opener_of(kind)
        reader_of(TEXT, parse({"format": kind}, schema_given=False).reader)
    import fastavro  # noqa: F401
    from pyarrow import dataset  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        for name in names or FILES:
            file, make, written, schema, _ = FILES[name]
            path = Path(folder, file)
            made = in_process(lambda make=make, path=path: str(path.write_bytes(make())), None)
            assert made.isdigit(), made
            outcomes = [
                in_process(
                    lambda path=path, written=written, schema=schema: read(path, written, schema),
                    MEMORY,
                ),
                in_process(lambda path=path, written=written: infer(path, written), MEMORY),
            ]
            sys.stdout.write(json.dumps([name, *outcomes]) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
