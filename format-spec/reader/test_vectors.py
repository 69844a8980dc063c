#!/usr/bin/env python3
"""Runs every test vector through the reader. Exits with 1 if one fails.

Positive vectors are decoded and compared with what they were made from; negative ones must be refused with `Refused`
and nothing else: any other exception is a failure, too.
"""

import json
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
VECTORS = os.path.join(HERE, "..", "vectors")
sys.path.insert(0, VECTORS)

import cutting
import encode
import make_trees
import repo_format as f
import strict_cbor
from repo_format import Refused, need

OPERATIONS = {}


def operation(*names):
    def register(function):
        OPERATIONS.update({name: function for name in names})
        return function
    return register


def h(value):
    return bytes.fromhex(value)


def same(got, expected):
    if got != expected:
        raise AssertionError(f"got {str(got)[:300]}, expected {str(expected)[:300]}")


def root_keys(i):
    """The keys of a full client that knows the client of the inputs, if there is one, and no other."""
    keys = f.RootKeys(h(i["root"]), h(i["repository_id"]), [h(i["former"])] if "former" in i else [])
    if "client" in i:
        client = client_of(i)
        keys.clients[client.client_id] = client
    return keys


def client_of(i):
    c = i["client"]
    return f.Client(h(c["id"]), h(c["domain"]), f.ed25519_public(h(c["seed"])), c["host"], (0, 0), "")


def same_signer(i, data, got):
    """What the inputs name a client for is signed by it, all else by full clients."""
    signed = data[-1] == f.BY_CLIENT
    same(got, root_keys(i).clients[data[-81:-65]] if signed else None)


def domain_keys(i):
    return root_keys(i).domain(h(i["domain"]))


def jsonable(value):
    """Bytes as hexadecimal text, tuples as lists; contents as the vectors show them."""
    if isinstance(value, f.Content):
        if value.form == 0:
            return {"inline": value.value.hex()}
        out = {"depth": value.depth} if value.form == 2 else {}
        return {**out, "chunks": [{"id": chunk_id.hex(), "length": length} for chunk_id, length in value.value]}
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, (list, tuple)):
        return [jsonable(element) for element in value]
    return value


def fields(named):
    return {key: jsonable(value) for key, value in named._asdict().items()}


# keys


@operation("root_keys")
def _(i, e, _):
    k = root_keys(i)
    same({"control_key": k.now.control.hex(), "recipient_secret": k.now.recipient_secret.hex(),
          "recipient_public": k.now.recipient_public.hex(), "signature_public": k.now.signature_public.hex(),
          "label_key": k.now.label.hex(), "former_root_key": k.now.former_root.hex()}, e)


@operation("domain_keys")
def _(i, e, _):
    k = domain_keys(i)
    gear = struct.unpack("<256Q", k.gear_table)
    same({"domain_secret": k.secret.hex(), "data_id_key": k.data_id.hex(), "tree_id_key": k.tree_id.hex(), "tree_chunker_key": k.tree_chunker.hex(),
          "index_key": k.index.hex(), "gear_first": gear[0], "gear_last": gear[255],
          "gear_table_hash": f.hash_(k.gear_table).hex()}, e)


@operation("chunk_id")
def _(i, e, _):
    same(domain_keys(i).chunk_id(i["kind"], h(i["plaintext"])).hex(), e["id"])


@operation("session_keys")
def _(i, e, _):
    k = f.SessionKeys(h(i["dek"]), h(i["session_id"]))
    same({"segment_key": k.segment.hex(), "nonce_key": k.nonce.hex(), "object_key": k.object.hex()}, e)


@operation("seal")
def _(i, e, _):
    sealed = h(e["sealed"])
    same(f.keyed(h(i["nonce_key"]), h(i["random"]) + h(i["aad"]) + h(i["plaintext"]))[:24].hex(), e["nonce"])
    same(sealed[:24].hex(), e["nonce"])
    same(f.unseal(h(i["key"]), h(i["aad"]), sealed, "seal").hex(), i["plaintext"])


@operation("unseal")
def _(i, e, _):
    f.unseal(h(i["key"]), h(i["aad"]), h(i["sealed"]), "seal")


# slots


@operation("slot")
def _(i, e, _):
    slot = f.parse_slot(h(e["slot"]))
    for name in ("slot_id", "kind", "kdf", "holds", "epoch", "memory", "passes", "lanes", "created", "salt"):
        same(jsonable(getattr(slot, name)), i[name])
    end = f.held_end(slot)
    same([slot.raw[116:140].hex(), slot.raw[end : end + 24].hex()], [i["root_nonce"], i["label_nonce"]])
    opened = f.open_slot(slot, h(i["repository_id"]), h(i["secret"]))
    if i["holds"]:
        label = f.open_label(slot, f.EpochKeys(h(i["root"]), h(i["repository_id"])), h(i["repository_id"]))
        *fields_, publics = opened.credential
        same([b"".join(fields_ + publics).hex(), label, opened.root, opened.label], [i["credential"], i["label"], None, None])
        same([opened.credential.client_id.hex(), len(publics)], [i["slot_id"], i["epoch"] + 1])
    else:
        same([opened.root.hex(), opened.label, opened.credential], [i["root"], i["label"], i["credential"]])


@operation("open_slot")
def _(i, e, _):
    opened = f.open_slot(f.parse_slot(h(i["slot"])), h(i["repository_id"]), h(i["secret"]))
    need(opened is not None, "not this secret")


@operation("key_file")
def _(i, e, _):
    secret = f.parse_key_file(h(i["file"]))
    same(secret.hex(), e["secret"])


@operation("recovery_code")
def _(i, e, _):
    secret = f.parse_recovery_code(i["code"])
    same(secret.hex(), e["secret"])


# session keys, config, envelopes, registers


@operation("record")
def _(i, e, _):
    record = f.parse_record(h(e["record"]))
    same([record.session_id.hex(), record.domain.hex(), record.epoch], [i["session_id"], i["domain"], i["epoch"]])
    same(record.ephemeral.hex(), f.x25519_public(h(i["ephemeral_secret"])).hex())
    same(f.open_record(record, root_keys(i)).hex(), i["dek"])


@operation("open_record")
def _(i, e, _):
    f.open_record(f.parse_record(h(i["record"])), root_keys(i))


@operation("root")
def _(i, e, _):
    data = h(e["object"])
    same(f.open_root(data, i["epoch"], h(i["root"]), h(i["repository_id"])).hex(), i["former"])
    same([int.from_bytes(data[8:12], "little"), data[12:36].hex()], [i["epoch"], i["nonce"]])


@operation("read_root")
def _(i, e, _):
    f.open_root(h(i["object"]), i["epoch"], h(i["root"]), h(i["repository_id"]))


def read_config(i, data):
    config = f.parse_config(data)
    f.check_config_auth(data, root_keys(i))
    return config


@operation("config")
def _(i, e, _):
    c = read_config(i, h(e["config"]))
    got = {**fields(c), "profiles": [fields(p) for p in c.profiles]}
    same(got, {key: i[key] for key in got})


@operation("read_config")
def _(i, e, _):
    got = fields(read_config(i, h(i["config"])))
    same({key: got[key] for key in e}, e)


def open_client_end(data, keys):
    return *f.open_client_end(data, keys), None


def open_client(data, keys):
    return *f.open_client(data, keys), None


def open_proof(data, keys):
    return *f.open_proof(data, keys), None


ENVELOPES = {"intent": f.open_intent, "snapshot": f.open_snapshot, "proof": open_proof, "client": open_client,
             "client_end": open_client_end}


@operation(*ENVELOPES)
def _(i, e, op):
    data = h(e["object"])
    record, value, client = ENVELOPES[op](data, root_keys(i))
    same([record.raw.hex(), fields(value)], [e["record"], e["fields"]])
    same(f.open_record(record, root_keys(i)).hex(), i["dek"])
    same_signer(i, data, client)
    same(client is not None, "client" in i)
    _, map_, _ = f.open_envelope(data, data[4], root_keys(i), op, f.CLIENT_KINDS)
    same([encode.cbor(map_).hex(), data[125:149].hex()], [i["cbor"], i["nonce"]])
    if op in ("snapshot", "proof"):
        same(f.hash_(data).hex(), e["name"])


@operation(*(f"read_{op}" for op in ENVELOPES))
def _(i, e, op):
    data = h(i["object"])
    _, value, client = ENVELOPES[op.removeprefix("read_")](data, root_keys(i))
    if e is not None:
        same(fields(value), e["fields"])
        same_signer(i, data, client)


@operation("register")
def _(i, e, _):
    data = h(e["register"])
    register, client = f.open_register(data, root_keys(i))
    same(fields(register), {key: i[key] for key in ("session_id", "state", "snapshot")})
    same_signer(i, data, client)
    same(data[-1], f.BY_CLIENT if "client" in i else f.BY_BOTH)


@operation("read_register")
def _(i, e, _):
    data = h(i["register"])
    register, client = f.open_register(data, root_keys(i))
    if e is not None:
        same(fields(register), e)
        same_signer(i, data, client)


@operation("read_register_as_client")
def _(i, e, _):
    publics = [h(i["signature_public"][at : at + 64]) for at in range(0, len(i["signature_public"]), 64)]
    got = fields(f.open_register_as_client(h(i["register"]), publics, client_of(i)))
    if e is not None:
        same(got, e)


@operation("forgotten")
def _(i, e, _):
    same(fields(f.open_forgotten(h(e["forgotten"]), root_keys(i))), {key: i[key] for key in f.Forgotten._fields})


@operation("read_forgotten")
def _(i, e, _):
    got = fields(f.open_forgotten(h(i["forgotten"]), root_keys(i)))
    if e is not None:
        same(got, e)


OPEN_PRUNE = {"plan": f.open_plan, "state": f.open_state, "done": f.open_done}


def prune_operation(what, opened):
    @operation(what)
    def _(i, e, _):
        got = fields(opened(h(e["object"]), root_keys(i)))
        same(got, {key: i[key] for key in got})

    @operation(f"read_{what}")
    def _(i, e, _):
        got = fields(opened(h(i["object"]), root_keys(i)))
        if e is not None:
            same(got, e)


for what, opened in OPEN_PRUNE.items():
    prune_operation(what, opened)


# segments, packs, indexes


def open_segment(i, row, sealed):
    """The segment by the reader's way: its row as it would come from a footer."""
    record = f.parse_record(encode.record(root_keys(i), h(i["session_id"]), h(i["domain"]), h(i["dek"]), h(i["ephemeral_secret"])))
    values = [0, 8, len(sealed), row["kind"], row["suite"], row["compression"], row["plain_length"], h(row["lengths"]), h(row["ids"])]
    row, = f.parse_rows([values], [record], 8 + len(sealed), "row")
    session = f.SessionKeys(f.open_record(record, root_keys(i)), record.session_id)
    return row, f.open_segment(row, sealed, session, domain_keys(i), h(i["repository_id"]))


@operation("segment")
def _(i, e, _):
    sealed = h(e["segment"])
    row, plain = open_segment(i, {**i, **e}, sealed)
    same(f.segment_aad(row, h(i["repository_id"])).hex(), e["aad"])
    same(sealed[:24].hex(), e["nonce"])
    session = f.SessionKeys(h(i["dek"]), h(i["session_id"]))
    same(f.keyed(session.nonce, h(i["random"]) + h(e["aad"]) + f.u32(len(h(i["payload"]))))[:24].hex(), e["nonce"])
    same([plain[o : o + n].hex() for _, o, n in f.row_chunks(row)], i["chunks"])


@operation("open_segment")
def _(i, e, _):
    open_segment(i, i["row"], h(i["segment"]))


@operation("padme")
def _(i, e, _):
    same(f.padme(i["length"]), e["padded"])


def shown_rows(rows):
    return [{**fields(row), "record": row.record.raw.hex()} for row in rows]


def open_pack_fully(i, data):
    keys = root_keys(i)
    domain, rows = f.open_pack(data, keys)
    plains = []
    for row in rows:
        session = f.SessionKeys(f.open_record(row.record, keys), row.record.session_id)
        sealed = data[row.offset : row.offset + row.sealed_length]
        plains.append(f.open_segment(row, sealed, session, keys.domain(domain), keys.repository_id))
    return domain, rows, plains


@operation("pack")
def _(i, e, _):
    data = h(e["pack"])
    domain, rows, plains = open_pack_fully(i, data)
    same([f.hash_(data).hex(), domain.hex(), shown_rows(rows)], [e["name"], i["domain"], e["rows"]])
    same([plain.hex() for plain in plains], ["".join(s["chunks"]) for s in i["segments"]])
    same(f.padme(len(data) - 28 - len(i["padding"]) // 2), len(data) - 28)


def edited(i, data):
    data = bytearray(data if i["truncate"] is None else data[: i["truncate"]])
    for patch in i["patches"]:
        new = h(patch["bytes"])
        data[patch["at"] : patch["at"] + len(new)] = new
    return bytes(data)


def frame_of(i):
    return h(i["frame"]).ljust(i["frame_length"], b"\0")


@operation("open_pack_edited")
def _(i, e, _):
    open_pack_fully(i, edited(i, h(BASES["pack", i["base"]]["pack"])))


@operation("open_pack_resealed")
def _(i, e, _):
    data = h(BASES["pack", i["base"]]["pack"])
    old = int.from_bytes(data[-8:-4], "little")
    aad = b"repo v1 footer" + h(i["repository_id"]) + h(i["domain"]) + f.u32(0)
    footer = encode.seal(domain_keys(i).index, aad, frame_of(i), h(i["footer_nonce"]))
    same(len(footer), old)
    open_pack_fully(i, data[: -28 - old] + footer + data[-28:])


def same_index(index, e):
    same({"domain": index.domain.hex(), "session_id": index.session_id.hex(), "replaces": jsonable(index.replaces),
          "packs": [{"id": pack_id.hex(), "length": length, "rows": shown_rows(rows)} for pack_id, length, rows in index.packs],
          "lost": b"".join(index.lost).hex(), "taken_out": b"".join(index.taken_out).hex()},
         {key: value for key, value in e.items() if key not in ("object", "name", "records")})


@operation("index")
def _(i, e, _):
    data = h(e["object"])
    index, client = f.open_index(data, root_keys(i))
    same([f.hash_(data).hex(), data[28:52].hex(), index.domain.hex()], [e["name"], i["nonce"], i["domain"]])
    same_index(index, e)
    same_signer(i, data, client)
    same(client is not None, "client" in i)


@operation("read_index")
def _(i, e, _):
    index, _ = f.open_index(h(i["object"]), root_keys(i))
    if e is not None:
        same_index(index, e)


@operation("open_index_edited")
def _(i, e, _):
    f.open_index(edited(i, h(BASES["index", i["base"]]["object"])), root_keys(i))


@operation("open_index_resealed")
def _(i, e, _):
    f.open_index(encode.index(root_keys(i), h(i["domain"]), frame_of(i), h(i["nonce"]), epoch=i["epoch"]), root_keys(i))


# trees


@operation("nodes", "read_nodes")
def _(i, e, op):
    stream = h(i["stream"])
    def shown(pieces):
        return [{key: value for key, value in fields(node).items() if value is not None} for node in f.nodes_of(pieces)]
    got = shown([stream])
    if e is None:
        return
    same(got, e["nodes"])
    # Between nodes it may be cut into chunks, and nowhere else.
    pos, pieces = 0, []
    while pos < len(stream):
        _, end = strict_cbor.decode_at(stream, pos)
        pieces.append(stream[pos:end])
        pos = end
    same(shown(pieces), e["nodes"])
    for at in set(range(0, len(stream), 7)) - {len(b"".join(pieces[:n])) for n in range(len(pieces))}:
        try:
            shown([stream[:at], stream[at:]])
        except Refused:
            continue
        raise AssertionError(f"accepted when cut within a node, at {at}")


@operation("directory")
def _(i, e, _):
    got = [node.name.hex() for node in f.nodes_of(map(h, i["chunks"]))]
    if e is not None:
        same(got, e["names"])


@operation("file")
def _(i, e, _):
    extents = i["extents"] if i["extents"] is None else [tuple(extent) for extent in i["extents"]]
    node = f.Node(**{**dict.fromkeys(f.Node._fields), "name": b"file", "size": i["size"], "extents": extents})
    stream, out = h(i["stream"]), bytearray(i["size"])
    for offset, data in f.file_ranges(node, [stream[at : at + 2] for at in range(0, len(stream), 2)]):
        out[offset : offset + len(data)] = data
    same(out.hex(), e["file"])


@operation("content")
def _(i, e, _):
    keys = domain_keys(i)
    chunks = {(kind, keys.chunk_id(kind, h(plain))): h(plain) for kind, plain in i["chunks"]}
    def fetch(kind, chunk_id, length):
        need((kind, chunk_id) in chunks, "in no index")
        need(len(chunks[kind, chunk_id]) == length, "another length")
        return chunks[kind, chunk_id]
    stream = b"".join(f.stream_of(f.parse_content(strict_cbor.decode(h(i["content"]))), i["kind"], fetch))
    same(stream.hex(), e["stream"])


# cutting


@operation("cut")
def _(i, e, _):
    data = make_trees.make_data(i["data"])
    same(cutting.cut_data(data, f.Profile(**i["profile"]), domain_keys(i).gear_table), e["lengths"])


@operation("cut_pages")
def _(i, e, _):
    same(cutting.cut_pages(i["length"], i["page"], f.PagesProfile(**i["profile"])), e["lengths"])


@operation("cut_nodes")
def _(i, e, _):
    same(cutting.cut_nodes(make_trees.make_nodes(i["nodes"]), domain_keys(i).tree_chunker), e["counts"])


@operation("cut_references")
def _(i, e, _):
    content, chunks, levels = cutting.content_of_references(make_trees.make_references(i["ids"], i["count"]), domain_keys(i).tree_id)
    raw = encode.cbor(content)
    same({"pieces": levels, "chunks_hash": f.hash_(b"".join(chunks)).hex(), "content_hash": f.hash_(raw).hex()},
         {key: e[key] for key in ("pieces", "chunks_hash", "content_hash")})
    need(e["content"] in (None, raw.hex()), "another content")
    # Reading it gives the references back.
    by_id = {f.keyed(domain_keys(i).tree_id, chunk): chunk for chunk in chunks}
    read = f.references_of(f.parse_content(strict_cbor.decode(raw)), lambda kind, chunk_id, length: by_id[chunk_id])
    same(b"".join(chunk_id + encode.u24(length) for chunk_id, length in read),
         b"".join(make_trees.make_references(i["ids"], i["count"])))


@operation("value")
def _(i, e, _):
    def shown(value):
        if isinstance(value, bytes):
            return {"bytes": value.hex()}
        if isinstance(value, str):
            return {"text": value}
        if isinstance(value, list):
            return [shown(element) for element in value]
        if isinstance(value, dict):
            return {"map": [[key, shown(element)] for key, element in value.items()]}
        return value
    data = h(e["cbor"])
    value = strict_cbor.decode(data)
    same([shown(value), encode.cbor(value)], [i["value"], data])
    for cut in range(len(data)):
        try:
            strict_cbor.decode(data[:cut])
        except strict_cbor.Truncated:
            continue
        raise AssertionError(f"accepted when truncated to {cut} bytes")


@operation("decode")
def _(i, e, _):
    strict_cbor.decode(h(i["cbor"]))


BASES = {}


def main():
    passed, failures = 0, []
    for name in sorted(os.listdir(VECTORS)):
        if not name.endswith(".json"):
            continue
        with open(os.path.join(VECTORS, name), encoding="utf-8") as file:
            topic = json.load(file)
        count = len(topic["vectors"])
        for vector in topic["vectors"]:
            BASES.setdefault((vector["op"], vector["name"]), vector.get("expected"))
            try:
                OPERATIONS[vector["op"]]({**topic["common"], **vector["inputs"]}, vector.get("expected"), vector["op"])
                problem = "was accepted" if vector.get("error") else None
            except Refused as error:
                problem = None if vector.get("error") else f"was refused: {error}"
                if os.environ.get("SHOW_REASONS") and not problem:
                    print(f"  {vector['name']}: {error}")
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
            if problem:
                failures.append(f"{name}: {vector['name']}: {problem}")
            else:
                passed += 1
        print(f"{name}: {count} vectors")
    for failure in failures:
        print("FAILED " + failure)
    print(f"{passed} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
