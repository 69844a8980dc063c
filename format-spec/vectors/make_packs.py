"""Makes the test vectors of segments, packs and index objects (FORMAT.md §7, §8)."""

import encode as e
from encode import cbor, hash_, keyed, u24, u32, xof

from given import (CLIENT, COMMON, DOMAIN, KEYS, NEXT_COMMON, NEXT_KEYS, ONE, OTHER_DOMAIN, REPOSITORY, SECOND_CLIENT, THIRD_CLIENT,
                   THREE, TWO, Vectors, bad_auth, flip)
from repo_format import padme

# segment -------------------------------------------------------------------------------------------------------------

TEXT = b"".join(b"line %d of a file that compresses well\n" % i for i in range(40))
# TEXT by a real compressor; kept as bytes, since versions of zstd differ.
TEXT_ZSTD = bytes.fromhex(
    "28b52ffd600e05950400c2041017a0b53900e4fb27bf03ef8ae5ff66ddddada5b4d8af562bffffffbf6ddbb6ddb66d5b25410ea3b83bdc5981ca94"
    "32c22090162e0358b44387862791a009d005282080334a0fa37cee877da4e73eec473ed7c33ed2731fd6239ffbb01ff95c0ffbc89f9be8c322fac8"
    "439f6be8c316fa48429f3be8c30afac8401f00a83c0fe311cff1308ff09c877944ffeb74c527")


def row_json(row):
    return dict(zip(("record", "offset", "sealed_length", "kind", "suite", "compression", "plain_length", "lengths", "ids"), row))


def segment():
    v = Vectors("segment", {**COMMON, **ONE.inputs()})
    domain = KEYS.domain(DOMAIN)

    def build(kind, suite, compression, chunks, payload=None, lengths=None, ids=None, plain_length=None, nonce=None, session=ONE):
        real_lengths, real_ids = e.row_parts(domain, kind, chunks)
        lengths, ids = real_lengths if lengths is None else lengths, real_ids if ids is None else ids
        plain = b"".join(chunks)
        plain_length = len(plain) if plain_length is None else plain_length
        payload = plain if payload is None else payload
        random = xof("segment random", 32)
        sealed, aad, nonce = e.segment(REPOSITORY, session.keys, kind, suite, compression, plain_length, lengths, ids, payload,
                                       nonce, random)
        row = {"kind": kind, "suite": suite, "compression": compression, "plain_length": plain_length,
               "lengths": lengths.hex(), "ids": ids.hex()}
        return {**COMMON, **session.inputs()}, row, payload, random, aad, nonce, sealed

    def good(name, *args, **more):
        inputs, row, payload, random, aad, nonce, sealed = build(*args, **more)
        v.good("segment", name, {**inputs, "kind": row["kind"], "suite": row["suite"], "compression": row["compression"],
                                 "chunks": [chunk.hex() for chunk in args[3]], "payload": payload.hex(), "random": random.hex()},
               {"lengths": row["lengths"], "ids": row["ids"], "plain_length": row["plain_length"], "aad": aad.hex(),
                "nonce": nonce.hex(), "segment": sealed.hex()})

    def bad(name, why, *args, change=lambda sealed: sealed, row_change=None, **more):
        inputs, row, *_, sealed = build(*args, **more)
        v.bad("open_segment", name, {**inputs, "row": {**row, **(row_change or {})}, "segment": change(sealed).hex()}, why)

    chunks = [b"first chunk", b"2", b"the third chunk"]
    text = [TEXT[:1000], TEXT[1000:]]
    for suite in (1, 2):
        good(f"suite {suite}, data, not compressed", 1, suite, 0, chunks)
        good(f"suite {suite}, tree, not compressed", 2, suite, 0, [b"a tree chunk"])
        good(f"suite {suite}, data, zstd", 1, suite, 1, text, TEXT_ZSTD)
    good("zstd frame without content size", 1, 1, 1, [b"abc" + b"x" * 500], e.raw_zstd([b"abc", (b"x", 500)]))
    good("zstd frame with RLE block and content size", 1, 1, 1, [b"z" * 2000, b"y"], e.raw_zstd([(b"z", 2000), b"y"], 2001))
    good("of another session", 1, 1, 0, [b"x"], session=TWO)
    bad_segments(bad, domain, chunks)
    v.write()


def bad_segments(bad, domain, chunks):
    for suite in (1, 2):
        name = f"suite {suite}: "
        bad(name + "tag flipped", "the tag does not verify", 1, suite, 0, chunks, change=lambda s: flip(s, -1))
        bad(name + "ciphertext flipped", "the tag does not verify", 1, suite, 0, chunks, change=lambda s: flip(s, 24))
        bad(name + "nonce flipped", "the tag does not verify", 1, suite, 0, chunks, change=lambda s: flip(s, 23))
        bad(name + "other suite in the row", "the suite is authenticated", 1, suite, 0, chunks,
            row_change={"suite": 3 - suite})
        bad(name + "chunk id mismatch", "the chunk's hash is another (the tag is right)", 1, suite, 0, [b"chunk"], ids=bytes(32))
    bad("kind changed", "the kind is authenticated", 1, 1, 0, chunks, row_change={"kind": 2})
    bad("id of the other kind", "data chunks have ids by the data id key", 1, 1, 0, [b"x"],
        ids=keyed(domain.tree_id, b"x"))
    bad("truncated", "the tag does not verify", 1, 1, 0, chunks, change=lambda s: s[:-1])
    bad("39 bytes", "shorter than nonce and tag", 1, 1, 0, chunks, change=lambda s: s[:39])
    ids3 = e.row_parts(domain, 1, chunks)[1]
    bad("lengths that do not add up", "the sum is not the plaintext length (the tag is right)", 1, 1, 0, chunks,
        lengths=u24(11) + u24(1) + u24(14))
    bad("lengths that add up to more", "the sum is not the plaintext length (the tag is right)", 1, 1, 0, chunks,
        lengths=u24(11) + u24(1) + u24(16))
    bad("plaintext longer than said", "the payload has another length than the row (the tag is right)", 1, 1, 0, chunks,
        payload=b"".join(chunks) + b"!")
    bad("plaintext shorter than said", "the payload has another length than the row (the tag is right)", 1, 1, 0, chunks,
        payload=b"".join(chunks)[:-1])
    bad("a length short of a byte", "lengths are 3 bytes each", 1, 1, 0, chunks, lengths=bytes(8))
    bad("fewer ids than lengths", "one id each", 1, 1, 0, chunks, ids=ids3[:64])
    bad("id short of a byte", "ids are 32 bytes each", 1, 1, 0, chunks, ids=ids3[:-1])
    bad("no chunk", "n >= 1", 1, 1, 0, [], lengths=b"", ids=b"")
    bad("empty chunk", "a chunk has 1 byte at least", 1, 1, 0, [b"x", b""])
    bad("plaintext length too large", "a segment has 16 MiB at most", 1, 1, 1, [b"x"], lengths=u24(8 << 20) * 2 + u24(1),
        ids=bytes(96), plain_length=(16 << 20) + 1, payload=e.raw_zstd([(b"x", 1000)]))
    bad("chunk too large", "a chunk has 8 MiB at most", 1, 1, 1, [b"x"], lengths=u24((8 << 20) + 1), ids=bytes(32),
        plain_length=(8 << 20) + 1, payload=e.raw_zstd([(b"x", 1000)]))
    bad("suite 3", "suite is not known", 1, 1, 0, chunks, row_change={"suite": 3})
    bad("suite 0", "suite is not known", 1, 1, 0, chunks, row_change={"suite": 0})
    bad("compression 2", "compression is not known (the tag is right)", 1, 1, 2, chunks)
    bad("kind 3", "kind is not known (the tag is right)", 3, 1, 0, chunks)
    x1000 = [b"x" * 1000]
    for name, payload in (("expands beyond the plaintext length", e.raw_zstd([(b"x", 100000)] * 300)),
                          ("says more than the plaintext length", e.raw_zstd([(b"x", 1001)], 1001)),
                          ("says 4 GiB", e.raw_zstd([(b"x", 1000)], 0xFFFFFFFF)),
                          ("expands to less", e.raw_zstd([(b"x", 999)])), ("is truncated", e.raw_zstd([(b"x", 1000)])[:-1]),
                          ("is followed by a byte", e.raw_zstd([(b"x", 1000)]) + b"\0"),
                          ("is followed by a frame", e.raw_zstd([(b"x", 500)]) * 2),
                          ("is a skippable frame first", b"\x50\x2a\x4d\x18\0\0\0\0" + e.raw_zstd([(b"x", 1000)])),
                          ("is no frame", b"x" * 1000), ("is empty", b"")):
        bad("zstd frame " + name, "not one frame of exactly the plaintext (the tag is right)", 1, 1, 1, x1000, payload)


# pack ----------------------------------------------------------------------------------------------------------------


def two_segments():
    """Data by suite 1 compressed, trees by suite 2: [(sealed, chunks, row without record and offset, inputs)]."""
    out = []
    for number, (kind, suite, compression, chunks, payload) in enumerate((
            (1, 1, 1, [TEXT[:1000], TEXT[1000:]], TEXT_ZSTD), (2, 2, 0, [b"tree chunk", b"another tree chunk"], None))):
        plain = b"".join(chunks)
        payload = payload or plain
        lengths, ids = e.row_parts(KEYS.domain(DOMAIN), kind, chunks)
        sealed, _, nonce = e.segment(REPOSITORY, (ONE, TWO)[number].keys, kind, suite, compression, len(plain), lengths, ids,
                                     payload, nonce=xof(f"segment nonce {number}", 24))
        out.append((sealed, chunks, [len(sealed), kind, suite, compression, len(plain), lengths, ids],
                    {"session": number, "kind": kind, "suite": suite, "compression": compression, "nonce": nonce.hex(),
                     "payload": payload.hex(), "chunks": [chunk.hex() for chunk in chunks]}))
    return out


def rows_of(segments):
    rows, offset = [], 8
    for number, (sealed, _, row, _) in enumerate(segments):
        rows.append([number, offset, *row])
        offset += len(sealed)
    return rows


def rows_json(rows, records):
    out = []
    for row in rows:
        row = row_json(row)
        out.append({**row, "record": records[row["record"]].hex(), "lengths": row["lengths"].hex(), "ids": row["ids"].hex()})
    return out


def small_pack():
    segments = two_segments()
    rows = rows_of(segments)
    nonce = xof("footer nonce", 24)
    map_ = {0: [ONE.record, TWO.record], 1: rows}
    sealed = e.footer(KEYS, DOMAIN, map_, nonce)
    data, padding = e.pack([s[0] for s in segments], sealed, DOMAIN, lambda n: xof("padding", n))
    return data, padding, segments, rows, map_, nonce


def pack():
    v = Vectors("pack", {**COMMON, "domain": DOMAIN.hex()})
    for length in (2, 3, 8, 9, 15, 16, 17, 100, 255, 256, 257, 1000, 4095, 4096, 4097, 5000, 65535, 65536, 65537, 1000003,
                   1 << 20, (1 << 20) + 1, 10**7, (64 << 20) - 1, (64 << 20) + 1, 10**8 + 7, 1 << 29, (1 << 29) + 1, (1 << 30) - 1):
        v.good("padme", str(length), {"length": length}, {"padded": padme(length)})
    data, padding, segments, rows, map_, nonce = small_pack()
    inputs = {**COMMON, "domain": DOMAIN.hex()}
    v.good("pack", "two segments of two sessions",
           {**inputs, "sessions": [ONE.inputs(), TWO.inputs()], "segments": [s[3] for s in segments], "padding": padding.hex(),
            "footer_nonce": nonce.hex()},
           {"pack": data.hex(), "name": hash_(data).hex(), "footer_cbor": cbor(map_).hex(),
            "rows": rows_json(rows, map_[0])})
    def edit(name, why, patches=(), cut=None):
        """Negatives that differ in few bytes from the first pack name it, so that they need not repeat it."""
        v.bad("open_pack_edited", name, {**inputs, "base": "two segments of two sessions", "truncate": cut,
                                         "patches": [{"at": at, "bytes": new.hex()} for at, new in patches]}, why)

    size = len(data)
    edit("empty", "too short", cut=0)
    edit("only a header", "too short", cut=8)
    edit("truncated by a byte", "the tail's magic is not at the end", cut=size - 1)
    edit("truncated before the tail", "the tail's magic is not at the end", cut=size - 28)
    edit("truncated in the middle", "the tail's magic is not at the end", cut=size // 2)
    edit("tail magic wrong", "not `pend`", [(size - 1, b"e")])
    edit("footer length beyond the file", "longer than the pack", [(size - 8, u32(size))])
    edit("footer length 2^32 - 1", "longer than a footer may be", [(size - 8, u32(0xFFFFFFFF))])
    edit("footer length over the header", "the footer would begin within the header", [(size - 8, u32(size - 28 - 7))])
    edit("footer length less by one", "the footer does not decrypt", [(size - 8, u32(4135))])
    edit("footer length 0", "too short for a seal", [(size - 8, u32(0))])
    edit("footer flipped", "the footer does not decrypt", [(size - 100, bytes([data[size - 100] ^ 1]))])
    edit("domain flipped", "another index key", [(size - 28, b"\1")])
    edit("epoch 1", "epoch is not known", [(size - 12, u32(1))])
    edit("version 2", "version is not known", [(5, b"\2")])
    edit("kind 4", "not a pack", [(4, b"\4")])
    edit("segment flipped", "the segment's tag does not verify (its name differs, too)", [(40, bytes([data[40] ^ 1]))])

    def resealed(name, why, map_=map_, frame=None):
        frame = frame or e.frame(cbor(map_))
        v.bad("open_pack_resealed", name, {**inputs, "base": "two segments of two sessions", "footer_nonce": nonce.hex(),
                                           "frame": frame.rstrip(b"\0").hex(), "frame_length": len(frame)},
              why + " (the footer decrypts)")

    def changed(number, element, value):
        new = [list(row) for row in rows]
        new[number][element] = value
        return {0: map_[0], 1: new}

    resealed("overlapping segments", "segments do not overlap", changed(1, 1, rows[1][1] - 1))
    resealed("segment in the header", "segments lie behind the header", changed(0, 1, 7))
    resealed("segment into the footer", "segments lie before the footer", changed(1, 1, size - 28 - 4136 - rows[1][2] + 1))
    resealed("segment offset 2^64 - 1", "segments lie before the footer", changed(1, 1, 2**64 - 1))
    resealed("record index beyond the array", "the record does not exist", changed(1, 0, 2))
    resealed("record of another domain", "records are of the pack's domain", {0: [ONE.record, THREE.record], 1: rows})
    resealed("record of another domain that no row names", "records are of the pack's domain",
             {0: [ONE.record, TWO.record, THREE.record], 1: rows})
    resealed("no records", "key 0 is missing", {1: []})
    resealed("no rows", "key 1 is missing", {0: map_[0]})
    resealed("sealed length below 40", "nonce and tag are 40 bytes", changed(1, 2, 39))
    resealed("sealed length that is not the plaintext's and 40", "not compressed", changed(1, 2, rows[1][2] - 1))
    resealed("frame padding not zero", "zeros follow the CBOR", frame=e.frame(cbor(map_))[:-1] + b"\1")
    resealed("CBOR length beyond the frame", "longer than the frame", frame=u32(4093) + e.frame(cbor(map_))[4:])
    v.write()


# index ---------------------------------------------------------------------------------------------------------------


def index_auth(v, make, usual, own):
    """Negative vectors of auth and of what a client may sign; `own` is the map of a client's index object."""
    def refused(name, why, data, **inputs):
        v.bad("read_index", name, {**COMMON, **inputs, "object": data.hex()}, why)

    made, made_by_client = make(usual), make(own, OTHER_DOMAIN, CLIENT)
    (pack_id, size, rows), = own[2]

    bad_auth(v, "read_index", "object", {1, 2, 3}, lambda keys, kind, client: (
        make(own, OTHER_DOMAIN, client) if kind == 2 else make(usual, keys=keys, auth_kind=kind)))
    for name, domain in (("domain 0", DOMAIN), ("another client's domain", THIRD_CLIENT.domain)):
        refused(f"of a client, {name}", "what a client signs is of its own domain (seal and signature are right)",
                make({**own, 1: [], 2: []}, domain, CLIENT), client=CLIENT.shown())
    refused("of a client, record of domain 0", "records are of the index object's domain (seal and signature are right)",
            make({**own, 1: [ONE.record], 2: []}, OTHER_DOMAIN, CLIENT), client=CLIENT.shown())
    refused("of a client, segments overlap", "segments do not overlap (seal and signature are right)",
            make({**own, 2: [[pack_id, size, rows * 2]]}, OTHER_DOMAIN, CLIENT), client=CLIENT.shown())
    refused("of a client, ciphertext flipped, signature right", "does not decrypt",
            e.auth(KEYS, flip(made_by_client[:-81], -1), 2, CLIENT), client=CLIENT.shown())
    refused("of a client, domain patched, signature right", "sealed with another key",
            e.auth(KEYS, made_by_client[:8] + THIRD_CLIENT.domain + made_by_client[24:-81], 2, THIRD_CLIENT), client=THIRD_CLIENT.shown())
    refused("of a client, epoch 1", "epoch is not known (seal and signature are right)", make(own, OTHER_DOMAIN, CLIENT, epoch=1),
            client=CLIENT.shown())
    refused("of a client, version 2", "version is not known (seal and signature are right)", make(own, OTHER_DOMAIN, CLIENT, version=2),
            client=CLIENT.shown())
    refused("without auth", "the MAC is wrong", made[:-33])
    refused("ciphertext flipped, auth right", "does not decrypt", e.auth(KEYS, flip(made[:-33], 100)))
    refused("domain patched, auth right", "sealed with another key", e.auth(KEYS, made[:8] + OTHER_DOMAIN + made[24:-33], 3))
    refused("of full clients, in a client's domain, kind 1", "its clients can't check a MAC (it is right)", make(own, OTHER_DOMAIN, auth_kind=1))


def index():
    v = Vectors("index", {**COMMON, "domain": DOMAIN.hex()})
    data, _, segments, rows, _, _ = small_pack()
    pack_id, size = hash_(data), len(data)
    nonce = xof("index nonce", 24)
    replaced = [xof("old index", 32)]
    usual = {0: ONE.id, 1: [ONE.record, TWO.record], 2: [[pack_id, size, rows]], 3: replaced}

    lost = xof("lost chunk one", 32) + xof("lost chunk two", 32)

    def shown(map_, domain, client=None):
        return {"domain": domain.hex(), "session_id": map_[0].hex(), "records": [record.hex() for record in map_[1]],
                "replaces": [] if client else [i.hex() for i in map_[3]],
                "packs": [{"id": p[0].hex(), "length": p[1], "rows": rows_json(p[2], map_[1])} for p in map_[2]],
                "lost": "" if client else map_.get(4, b"").hex(), "taken_out": "" if client else map_.get(5, b"").hex()}

    def make(map_, domain=DOMAIN, client=None, keys=KEYS, **more):
        return e.index(keys, domain, map_, nonce, **{"client": client, **more})

    def good(name, map_, domain=DOMAIN, client=None):
        made = make(map_, domain, client)
        v.good("index", name, {**COMMON, "domain": domain.hex(), "nonce": nonce.hex(), "cbor": cbor(map_).hex(),
                               **({"client": client.shown()} if client else {})},
               {"object": made.hex(), "name": hash_(made).hex(), **shown(map_, domain, client)})
        return made

    made = good("one pack", usual)
    good("empty, another domain", {0: TWO.id, 1: [], 2: [], 3: []}, OTHER_DOMAIN)
    good("lost chunks, no packs", {0: ONE.id, 1: [], 2: [], 3: replaced, 4: lost})
    good("a pack taken out, its chunks lost", {0: ONE.id, 1: [], 2: [], 3: replaced, 4: lost, 5: pack_id})
    own = {0: THREE.id, 1: [THREE.record], 2: [[pack_id, size, [[0, *rows[0][1:]]]]], 3: []}
    good("of a client", own, OTHER_DOMAIN, CLIENT)
    good("of a client: keys 3, 4 and 5 say nothing", {**own, 3: replaced, 4: lost, 5: pack_id}, OTHER_DOMAIN, CLIENT)
    good("of another client of the same domain", own, OTHER_DOMAIN, SECOND_CLIENT)
    good("of full clients, in a client's domain", {**own, 3: replaced, 4: lost, 5: pack_id}, OTHER_DOMAIN)
    for name, common, data in (("auth kind 3", COMMON, make(usual, auth_kind=3)), ("of the former epoch", NEXT_COMMON, made),
                               ("of epoch 1", NEXT_COMMON, make(usual, keys=NEXT_KEYS))):
        v.good("read_index", name, {**common, "object": data.hex()}, shown(usual, DOMAIN))
    for name, key, value in (("no key 3", 3, None), ("replaced id of 31 bytes", 3, [bytes(31)]), ("lost chunks cut short", 4, lost[:-1]),
                             ("lost chunks as an array", 4, [lost[:32]]), ("packs taken out cut short", 5, pack_id[:-1])):
        v.bad("read_index", f"of a client: {name}",
              {**COMMON, "client": CLIENT.shown(), "object": make({**own, key: value}, OTHER_DOMAIN, CLIENT).hex()},
              "keys that say nothing are decoded (the signature is right)")
    v.good("read_index", "a key that is not known", {**COMMON, "object": make({**usual, 6: "new"}).hex()}, shown(usual, DOMAIN))

    index_auth(v, make, usual, own)

    def edit(name, why, patches=(), cut=None):
        v.bad("open_index_edited", name, {**COMMON, "base": "one pack", "truncate": cut,
                                          "patches": [{"at": at, "bytes": new.hex()} for at, new in patches]}, why)

    edit("flipped", "the MAC is wrong", [(100, bytes([made[100] ^ 1]))])
    edit("truncated", "auth ends with its kind", cut=len(made) - 1)
    edit("empty", "too short", cut=0)
    edit("domain flipped", "the MAC is wrong", [(8, b"\1")])
    edit("version 2", "version is not known", [(5, b"\2")])
    edit("kind 3", "not an index", [(4, b"\3")])

    bad_index_frames(v, nonce, pack_id, size, rows, lost)
    v.write()


def bad_index_frames(v, nonce, pack_id, size, rows, lost):
    """What an index object must not say."""
    def bad(name, why, map_=None, frame=None, epoch=0):
        frame = frame or e.frame(cbor(map_))
        v.bad("open_index_resealed", name, {**COMMON, "domain": DOMAIN.hex(), "epoch": epoch, "nonce": nonce.hex(),
                                            "frame": frame.rstrip(b"\0").hex(), "frame_length": len(frame)},
              why + " (it decrypts, and the MAC is right)")

    first = [pack_id, size, rows[:1]]
    short = {0: ONE.id, 1: [ONE.record], 2: [first], 3: []}

    def row(element, value):
        new = list(rows[0])
        new[element] = value
        return {**short, 2: [[pack_id, size, [new]]]}

    bad("epoch 1", "epoch is not known", short, epoch=1)
    bad("frame not a multiple of 4096", "frames are multiples of 4096 bytes", frame=u32(len(cbor(short))) + cbor(short))
    bad("record index beyond the array", "the record does not exist", row(0, 1))
    bad("segment beyond the pack", "segments lie within the pack", row(1, size - 28 - rows[0][2] + 1))
    bad("chunk lengths do not add up", "the sum is not the plaintext length", row(6, 1551))
    bad("row of 8 elements", "a row has 9", {**short, 2: [[pack_id, size, [rows[0][:8]]]]})
    bad("record of 116 bytes", "a record has 117", {**short, 1: [ONE.record[:116]]})
    bad("pack longer than 1 GiB", "outside the limits", {**short, 2: [[pack_id, (1 << 30) + 1, rows[:1]]]})
    long = list(rows[0])
    long[1:3] = [8, (16 << 20) + (64 << 10) + 41]
    bad("sealed length over the limit", "16 MiB, 64 KiB and 40 bytes at most", {**short, 2: [[pack_id, 1 << 30, [long]]]})
    bad("record of another domain", "records are of the index object's domain",
        {**short, 1: [ONE.record, THREE.record]})
    for key, what in ((0, "session"), (1, "records"), (2, "packs"), (3, "replaced")):
        bad(f"no {what}", f"key {key} is missing", {**short, 2: [], key: None})
    bad("lost chunks cut short", "ids have 32 bytes", {**short, 2: [], 4: lost[:-1]})
    bad("packs taken out cut short", "ids have 32 bytes", {**short, 2: [], 5: pack_id[:-1]})
    bad("lost chunks as an array", "they are one byte string", {**short, 2: [], 4: [lost[:32]]})
    bad("segments overlap", "segments do not overlap", {**short, 2: [[pack_id, size, [rows[0], rows[0]]]]})
    bad("keys not ascending", "deterministic CBOR", frame=e.frame(b"\xa4\x01\x80\x00\x50" + ONE.id + b"\x02\x80\x03\x80"))


