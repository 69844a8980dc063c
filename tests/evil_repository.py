#!/usr/bin/env python3
"""Writes a repository that is valid in every respect but one: `evil_repository.py VARIANT DIR`.

The password is "correct horse". It shares its code with the test vectors and nothing with the engine.
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "format-spec", "vectors"))
sys.path.insert(0, os.path.join(HERE, "..", "format-spec", "reader"))

import encode as e
from encode import cbor, hash_, keyed, u24, xof
from given import DOMAIN, KEYS, ONE, REPOSITORY, ROOT
from make_objects import config_map, snapshot_map
from make_trees import node

TIME = (1790000000, 0)
MIB = 1 << 20


class Writer:
    """Collects chunks and puts them into one pack."""

    def __init__(self, target):
        self.target, self.keys, self.segments = target, KEYS.domain(DOMAIN), []

    def put(self, name, data):
        path = os.path.join(self.target, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "xb") as file:
            file.write(data)

    def chunk(self, kind, plain, payload=None, claimed=None):
        """A segment with one chunk; its reference. `payload` is what a decompressor gets instead of the chunk."""
        compression = 0 if payload is None else 1
        claimed = len(plain) if claimed is None else claimed
        lengths = u24(claimed)
        ids = keyed(self.keys.data_id if kind == 1 else self.keys.tree_id, plain)
        sealed, _, _ = e.segment(REPOSITORY, ONE.keys, kind, 1, compression, claimed, lengths, ids,
                                 plain if payload is None else payload, nonce=xof(f"nonce {len(self.segments)}", 24))
        self.segments.append((sealed, [len(sealed), kind, 1, compression, claimed, lengths, ids]))
        return ids + u24(claimed)

    def directory(self, nodes):
        """The content of a directory."""
        return [1, self.chunk(2, b"".join(map(cbor, nodes)))]

    def finish(self, root):
        self.put("config", e.config(KEYS, config_map()))
        slot_id = xof("slot a", 16)
        self.put("keys/" + slot_id.hex(), e.slot(REPOSITORY, ROOT, slot_id, 1, 1, b"correct horse", xof("salt", 32),
                                                 xof("n1", 24), xof("n2", 24), "sample", created=1790000000,
                                                 memory=65536, passes=1, lanes=1))
        rows, offset = [], 8
        for sealed, row in self.segments:
            rows.append([0, offset, *row])
            offset += len(sealed)
        footer = e.footer(KEYS, DOMAIN, {0: [ONE.record], 1: rows}, xof("fn", 24))
        pack, _ = e.pack([sealed for sealed, _ in self.segments], footer, DOMAIN, lambda n: xof("pad", n))
        self.put(f"packs/{hash_(pack).hex()[:2]}/{hash_(pack).hex()}", pack)
        index = e.index(KEYS, DOMAIN, {0: ONE.id, 1: [ONE.record], 2: [[hash_(pack), len(pack), rows]], 3: []}, xof("xn", 24))
        self.put("index/" + hash_(index).hex(), index)
        snapshot = self.snapshot(root, 0)
        self.put("snapshots/" + hash_(snapshot).hex(), snapshot)
        self.put(f"sessions/{ONE.id.hex()}/register", e.register(KEYS, {0: ONE.id, 1: 1, 2: hash_(snapshot)}))

    @staticmethod
    def snapshot(root, number):
        map_ = snapshot_map(root, _2=[b"/data"], _8=1, _10=[])
        return e.envelope(KEYS, 5, ONE.record, ONE.dek, xof(f"pn {number}", 24), cbor(map_))


def file(name, **more):
    content = b"written by a crafted repository"
    return node(name, 1, 0o644, 0, 0, TIME, **{"k10": len(content), "k11": [0, content], **more})


def directory(name, content):
    return node(name, 2, 0o755, 0, 0, TIME, k11=content)


def named(name):
    """A file and a directory with a name that must not be, beside a good file."""
    def build(w):
        inner = w.directory([file(b"escaped")])
        nodes = sorted([file(b"good"), directory(name, inner)], key=lambda n: n[0])
        return w.directory([directory(b"data", w.directory(nodes))])
    return build


def file_named(name):
    def build(w):
        nodes = sorted([file(b"good"), file(name)], key=lambda n: n[0])
        return w.directory([directory(b"data", w.directory(nodes))])
    return build


def through_symlink(w):
    """A symlink that leads outside, and a directory of the same name: what is in it would be written there."""
    inner = w.directory([file(b"escaped")])
    link = node(b"way", 3, 0o777, 0, 0, TIME, k12=b"../../outside")
    return w.directory([directory(b"data", w.directory([link, directory(b"way", inner)]))])


def hard_link_out(w):
    """Two names of one file, the first of them a symlink out of the target."""
    link = {"k7": 9, "k8": 1, "k9": 2}
    one = node(b"a", 3, 0o777, 0, 0, TIME, k12=b"../../outside/escaped", **link)
    return w.directory([directory(b"data", w.directory([one, file(b"b", **link)]))])


def bomb(blocks, claimed):
    """A segment that says `claimed` bytes and becomes far more."""
    def build(w):
        reference = w.chunk(1, b"x", e.raw_zstd([(b"\0", 128 << 10)] * blocks), claimed)
        bad = node(b"bomb", 1, 0o644, 0, 0, TIME, k10=claimed, k11=[1, reference])
        return w.directory([directory(b"data", w.directory([bad, file(b"good")]))])
    return build


def tree_bomb(w):
    """A tree chunk that becomes far more than a tree chunk may be."""
    reference = w.chunk(2, b"x", e.raw_zstd([(b"\0", 128 << 10)] * 32768), 65536)
    return w.directory([directory(b"data", [1, reference])])


def huge_size(w):
    """A file of 2^62 bytes with nothing in it."""
    bad = node(b"huge", 1, 0o644, 0, 0, TIME, k10=1 << 62, k11=[0, b"x"])
    return w.directory([directory(b"data", w.directory([file(b"good"), bad]))])


def cyclic_depth(w):
    """A directory so deep that recursion would run out of stack."""
    content = [0, b""]
    for _ in range(5000):
        content = [0, cbor(directory(b"d", content))] if len(cbor(content)) < 200 else w.directory([directory(b"d", content)])
    return w.directory([directory(b"data", content)])


VARIANTS = {
    "good": file_named(b"other"), "dot-dot": named(b".."), "dot": named(b"."), "slash": named(b"a/../../outside"),
    "absolute": named(b"/tmp/outside"), "empty": named(b""), "nul": named(b"a\0b"), "file-dot-dot": file_named(b"../outside"),
    "file-absolute": file_named(b"/outside"), "duplicate": file_named(b"good"), "symlink": through_symlink,
    "hard-link": hard_link_out, "zip-bomb": bomb(65536, 8 * MIB - 1), "small-bomb": bomb(64, 1000), "tree-bomb": tree_bomb,
    "huge-size": huge_size, "deep": cyclic_depth,
}


def ambiguous(target):
    """Two snapshots whose ids begin with the same four digits."""
    w = Writer(target)
    root = w.directory([directory(b"data", w.directory([file(b"good")]))])
    seen = {}
    for number in range(1 << 16):
        snapshot = w.snapshot(root, number)
        start = hash_(snapshot).hex()[:4]
        if start in seen:
            break
        seen[start] = snapshot
    w.snapshot = lambda _root, _number: snapshot
    w.finish(root)
    other = seen[start]
    w.put("snapshots/" + hash_(other).hex(), other)
    print(start)


if __name__ == "__main__":
    if sys.argv[1] == "ambiguous":
        ambiguous(sys.argv[2])
    else:
        writer = Writer(sys.argv[2])
        writer.finish(VARIANTS[sys.argv[1]](writer))
