#!/usr/bin/env python3
"""Makes the seed corpus and the fixed keys from the test vectors: `fuzz/make-corpus.py`. Always the same files.

Every object of the vectors, valid or not, is a seed, and so is what is inside of its seal. Seeds that a fuzzer found
and that are worth keeping are files beside these, with names that don't begin with `vector-`.
"""

import hashlib
import json
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
VECTORS = HERE.parent / "format-spec" / "vectors"
LARGEST = 16 << 10
SEALED_END = 33


def vectors(topic, *operations):
    with open(VECTORS / f"{topic}.json", encoding="utf-8") as file:
        content = json.load(file)
    for vector in content["vectors"]:
        if vector["op"] in operations:
            yield vector["name"], {**content["common"], **vector["inputs"], **(vector.get("expected") or {})}


def pick(topic, operations, *fields):
    """The byte strings in some fields of some vectors."""
    for _, values in vectors(topic, *operations):
        for field in fields:
            if isinstance(values.get(field), str):
                yield bytes.fromhex(values[field])


def seeds():
    yield "config", pick("config", ("config", "read_config"), "config")
    yield "slot", pick("slots", ("slot", "open_slot"), "slot")
    yield "record", pick("session_key", ("record", "open_record"), "record")
    registers = list(pick("register", ("register", "read_register"), "register"))
    yield "register", registers + [register[8:-SEALED_END] for register in registers]
    records = list(pick("forgotten", ("forgotten", "read_forgotten"), "forgotten"))
    yield "forgotten", records + [record[8:-SEALED_END] for record in records]
    objects = list(pick("prune", ("plan", "state", "done", "read_plan", "read_state", "read_done"), "object"))
    yield "prune", objects + [object_[8:-SEALED_END] for object_ in objects]
    yield "envelope", pick("envelope", ("intent", "snapshot", "read_intent", "read_snapshot"), "object", "cbor")
    yield "tail", (pack[-28:] for pack in pick("pack", ("pack",), "pack"))
    yield "footer", pick("pack", ("pack", "open_pack_resealed"), "footer_cbor", "frame")
    yield "index", pick("index", ("index", "open_index_resealed"), "object", "cbor", "frame")
    yield "node", pick("tree", ("nodes", "read_nodes"), "stream")
    yield "references", references()
    yield "repository", instructions()


def references():
    for _, values in vectors("tree", "content"):
        for kind, plaintext in values["chunks"]:
            if kind == 2:
                yield bytes.fromhex(plaintext)
    for _, values in vectors("segment", "segment"):
        if values["compression"] == 1:
            yield values["plain_length"].to_bytes(4, "little") + bytes.fromhex(values["payload"])


def instructions():
    yield b""
    for item in range(12):
        for action in range(6):
            yield bytes([item, action, 0x55, 0x7f])
    yield bytes(range(32))


def main():
    for name, content in seeds():
        directory = HERE / "corpus" / name
        directory.mkdir(parents=True, exist_ok=True)
        for old in directory.glob("vector-*"):
            old.unlink()
        count = 0
        for seed in {seed for seed in content if len(seed) <= LARGEST}:
            (directory / f"vector-{hashlib.sha256(seed).hexdigest()[:16]}").write_bytes(seed)
            count += 1
        print(f"{name}: {count}")
    fixed = HERE / "fixed"
    fixed.mkdir(exist_ok=True)
    slot = next(values for name, values in vectors("slots", "slot") if name == "key file")
    record = next(values for _, values in vectors("session_key", "record") if values["epoch"] == 0)
    assert (slot["root"], slot["repository_id"]) == (record["root"], record["repository_id"])
    for name, value in [("slot", slot["slot"]), ("key-file", slot["secret"]),
                        ("repository-id", slot["repository_id"]), ("session-record", record["record"])]:
        (fixed / name).write_bytes(bytes.fromhex(value))


if __name__ == "__main__":
    main()
