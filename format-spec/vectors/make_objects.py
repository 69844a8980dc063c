"""Makes the test vectors of config, session envelopes, registers, records, prune's objects and clients (FORMAT.md §4, §6,
§10, §14 to §16)."""

import encode as e
from encode import cbor, hash_, u24, xof

from given import (CLIENT, COMMON, KEYS, NEXT_COMMON, NEXT_KEYS, ONE, OTHER_KEYS, REPOSITORY, SECOND_CLIENT, THIRD_CLIENT, THREE, TWO,
                   Session, Vectors, bad_auth, flip, patch, same_signature, signature_publics)
from repo_format import ed25519_public

# config --------------------------------------------------------------------------------------------------------------

FILES = {0: 1, 1: 262144, 2: 1048576, 3: 4194304, 4: 0x0000590003530000 << 1, 5: 0x0000590003530000}
DUMPS = {0: 1, 1: 16384, 2: 65536, 3: 262144, 4: 0x0003590003530000, 5: 0x0000590003530000}
PAGES = {0: 2, 1: 4096, 3: 65536}


def config_map(**changes):
    map_ = {0: REPOSITORY, 1: [1790000000, 123456789], 2: 1, 3: 64 << 20, 4: 4 << 20, 5: [FILES, DUMPS, PAGES], 6: [], 7: [], 8: []}
    return {**map_, **{int(key[1:]): value for key, value in changes.items()}}


def profile_json(p):
    if p[0] == 2:
        return {"chunker": p[0], "min": p[1], "max": p[3]}
    return {"chunker": p[0], "min": p[1], "average": p[2], "max": p[3], "strict_mask": p[4], "loose_mask": p[5]}


def header_and(usual, value):
    """A config's map with one more value, under key 99."""
    return bytes([usual[8] + 1]) + usual[9:-97] + b"\x18\x63" + value


def config():
    v = Vectors("config")

    def good(name, map_, decoded_map=None):
        m = decoded_map or map_
        v.good("config", name, {**COMMON, "created": m[1], "suite": m[2], "pack_size": m[3], "segment_size": m[4],
                                "profiles": [profile_json(p) for p in m[5]], "read": m[6], "write": m[7], "prune": m[8]},
               {"config": e.config(KEYS, map_).hex()})

    good("usual", config_map())
    good("smallest values", config_map(_1=[-1, 0], _2=2, _3=1 << 20, _4=64 << 10,
                                       _5=[{0: 1, 1: 64, 2: 256, 3: 1024, 4: 1, 5: 0}] * 2 + [{0: 2, 1: 1024, 3: 1024}]))
    good("largest values", config_map(_1=[0, 999999999], _3=512 << 20, _4=8 << 20,
                                      _5=[{0: 1, 1: 1 << 20, 2: 4 << 20, 3: 8 << 20, 4: 2**63 - 1, 5: 2**62}] * 2 + [{0: 2, 1: 1 << 20, 3: 1 << 20}]))
    unknown = config_map(_99="ignored")
    unknown[5] = [{**FILES, 17: b"ignored"}, DUMPS, {**PAGES, 2: "ignored"}, 7]
    v.good("read_config", "unknown keys and elements are ignored", {**COMMON, "config": e.config(KEYS, unknown).hex()},
           {"repository_id": REPOSITORY.hex(), "suite": 1, "pack_size": 64 << 20, "write": [], "prune": []})
    v.good("read_config", "unknown keys of any type are ignored",
           {**COMMON, "config": e.config(KEYS, config_map(_99=True, _100=[-5, {1: {2: b""}}], _101="")).hex()},
           {"repository_id": REPOSITORY.hex(), "suite": 1, "pack_size": 64 << 20, "write": [], "prune": []})
    v.good("read_config", "of the former epoch", {**NEXT_COMMON, "config": e.config(KEYS, config_map()).hex()},
           {"repository_id": REPOSITORY.hex(), "suite": 1, "pack_size": 64 << 20, "write": [], "prune": []})
    v.good("read_config", "unknown features to write and prune can be read",
           {**COMMON, "config": e.config(KEYS, config_map(_7=["future"], _8=["other"])).hex()},
           {"repository_id": REPOSITORY.hex(), "suite": 1, "pack_size": 64 << 20, "write": ["future"], "prune": ["other"]})

    def bad(name, data, why):
        v.bad("read_config", name, {**COMMON, "config": data.hex()}, why)

    usual = e.config(KEYS, config_map())
    bad_auth(v, "read_config", "config", {3}, lambda keys, kind, client: e.config(keys, config_map(), auth_kind=kind, client=client))
    bad("suite changed under the MAC", usual.replace(bytes([2, 1, 3]), bytes([2, 2, 3]), 1), "the MAC is wrong")
    bad("truncated", usual[:20], "too short")
    bad("empty", b"", "too short")
    bad("version 2", e.config(KEYS, config_map(), version=2), "version is not known (the MAC is right)")
    bad("kind 2", e.auth(KEYS, patch(usual[:-97], 4, b"\2"), 3), "kind is not config (the MAC is right)")
    for name, value in (("that is a float", b"\xf9\x3c\x00"), ("with a tag", b"\xc1\x00"), ("not in its shortest form", b"\x18\x01"),
                        ("of indefinite length", b"\x9f\xff"), ("with keys not ascending", b"\xa2\x01\x00\x00\x00"),
                        ("with a negative key", b"\xa1\x20\x00"), ("that is undefined", b"\xf7"), ("nested too deeply", b"\x81" * 40 + b"\0"),
                        ("that is not UTF-8", b"\x61\xff")):
        bad("unknown value " + name, e.config(KEYS, header_and(usual, value)), "deterministic CBOR, also of what is not known (the MAC is right)")
    map_ = usual[8:-97]
    bad("negative key", e.config(KEYS, bytes([map_[0] + 1]) + b"\x20\0" + map_[1:]), "map keys are unsigned (the MAC is right)")
    bad("257 features", e.config(KEYS, config_map(_7=[""] * 257)), "256 at most (the MAC is right)")
    bad("byte after the map", e.config(KEYS, map_ + b"\0"), "the map is all there is (the MAC is right)")
    bad("integer not in its shortest form", e.config(KEYS, map_.replace(bytes([2, 1, 3]), bytes([2, 0x18, 1, 3]), 1)),
        "deterministic CBOR (the MAC is right)")

    bad_config_values(bad)
    v.write()


def bad_config_values(bad):
    """What the table of a config and the limits forbid."""
    def profiles(**changes):
        return {"_5": [{**FILES, **{int(key[1:]): value for key, value in changes.items()}}, DUMPS, PAGES]}

    def pages(**changes):
        return {"_5": [FILES, DUMPS, {**PAGES, **{int(key[1:]): value for key, value in changes.items()}}]}

    for name, changes in (
            ("unknown feature to read", {"_6": ["future"]}), ("suite 9", {"_2": 9}), ("suite 0", {"_2": 0}),
            ("pack size below 1 MiB", {"_3": (1 << 20) - 1}), ("pack size above 512 MiB", {"_3": (512 << 20) + 1}),
            ("segment size below 64 KiB", {"_4": 65535}), ("segment size above 8 MiB", {"_4": (8 << 20) + 1}),
            ("repository id of 15 bytes", {"_0": REPOSITORY[:15]}), ("no suite", {"_2": None}),
            ("no features to prune", {"_8": None}), ("two profiles", {"_5": [FILES, DUMPS]}),
            ("profiles in another order", {"_5": [FILES, PAGES, DUMPS]}), ("nanoseconds 10^9", {"_1": [0, 10**9]}),
            ("feature that is no text", {"_7": [b"bytes"]}), ("suite as text", {"_2": "1"}),
            ("strict mask with bit 63", profiles(_4=1 << 63 | 1)), ("loose mask with bit 63", profiles(_5=1 << 63 | 1)),
            ("min > average", profiles(_1=524288, _2=262144)), ("average > max", profiles(_2=2097152, _3=1048576)),
            ("min odd", profiles(_1=262145)), ("average odd", profiles(_2=1048577)), ("max odd", profiles(_3=4194305)),
            ("min 62", profiles(_1=62)), ("max above 8 MiB", profiles(_3=(8 << 20) + 2)),
            ("min above 1 MiB", profiles(_1=(1 << 20) + 2, _2=2 << 20)), ("average above 4 MiB", profiles(_2=(4 << 20) + 2, _3=8 << 20)),
            ("average below 256", profiles(_1=64, _2=254)), ("max below 1024", profiles(_1=64, _2=256, _3=1022)),
            ("chunker 2 of files", profiles(_0=2)), ("chunker 1 of pages", pages(_0=1)), ("chunker 3 of pages", pages(_0=3)),
            ("min of pages 512", pages(_1=512)), ("max of pages 2 MiB", pages(_3=2 << 20)), ("min of pages above max", pages(_1=131072)),
            ("min of pages no power of two", pages(_1=4098)), ("max of pages no power of two", pages(_3=65534)),
            ("pages without max", pages(_3=None))):
        bad(name, e.config(KEYS, config_map(**changes)), "not allowed by the tables (the MAC is right)")


# envelope ------------------------------------------------------------------------------------------------------------

INTENT_MAP = {0: [1790000000, 5], 1: "host", 2: 4242, 3: "boot-1234", 4: "program 1.0"}


def snapshot_map(root_content, **changes):
    map_ = {0: [1790000100, 0], 1: "host", 2: [b"/home/\xff", b"/srv"], 3: root_content, 4: ["daily", "\u00e4"],
            8: 7, 9: {i: i for i in range(11)}, 10: [[b"/srv/lock", "permission denied"]], 11: "program 1.0",
            12: [[0, b"root"], [1000, b"user"]], 13: [[0, b"root"]]}
    return {**map_, **{int(key[1:]): value for key, value in changes.items()}}


ENVELOPE_NONCE = xof("envelope nonce", 24)
# What `snapshot_map` says if its root is empty.
SNAPSHOT_FIELDS = {"time": [1790000100, 0], "host": "host", "paths": [b"/home/\xff".hex(), b"/srv".hex()],
                   "root": {"inline": ""}, "tags": ["daily", "\u00e4"], "label": None, "parent": None, "previous": None,
                   "number": 7, "statistics": list(range(11)), "problems": [[b"/srv/lock".hex(), "permission denied"]],
                   "program": "program 1.0", "users": [[0, b"root".hex()], [1000, b"user".hex()]],
                   "groups": [[0, b"root".hex()]], "replaces": None, "first": None, "user": None, "started": None, "finished": None,
                   "stack": None, "copied_from": None}


def build(kind, map_, keys=KEYS, session=ONE, **more):
    plain = map_ if isinstance(map_, bytes) else cbor(map_)
    return e.envelope(keys, kind, session.record, session.dek, ENVELOPE_NONCE, plain, **more)


def build_as_client(kind, map_, client=CLIENT, session=THREE, **more):
    return build(kind, map_, session=session, auth_kind=2, client=client, **more)


def envelope():
    v = Vectors("envelope", {**COMMON, **ONE.inputs()})

    def good(kind, name, map_, fields, session=ONE, client=None):
        data = build_as_client(kind, map_, client) if client else build(kind, map_)
        expected = {"object": data.hex(), "record": session.record.hex(), "fields": fields}
        if kind != 6:
            expected["name"] = hash_(data).hex()
        v.good({5: "snapshot", 6: "intent", 13: "proof"}[kind], name,
               {**COMMON, **session.inputs(), **({"client": client.shown()} if client else {}), "nonce": ENVELOPE_NONCE.hex(),
                "cbor": cbor(map_).hex()}, expected)

    good(6, "intent", INTENT_MAP, {"started": [1790000000, 5], "host": "host", "process": 4242, "boot": "boot-1234",
                                   "program": "program 1.0"})
    inline = [0, b""]
    fields = SNAPSHOT_FIELDS
    good(5, "snapshot without optional keys", snapshot_map(inline), fields)
    ids = [xof(f"snapshot {i}", 32) for i in range(4)]
    reference = xof("tree chunk", 32) + u24(300000)
    good(5, "snapshot with all keys", snapshot_map([1, reference], _5="label", _6=ids[0], _7=ids[1], _14=ids[2], _15=ids[3],
                                                   _16="user", _17=[1790000090, 1], _18=[1790000110, 999999999],
                                                   _20=[ids[0][:16], ids[1]]),
         {**fields, "root": {"chunks": [{"id": reference[:32].hex(), "length": 300000}]}, "label": "label",
          "parent": ids[0].hex(), "previous": ids[1].hex(), "replaces": ids[2].hex(), "first": ids[3].hex(), "user": "user",
          "started": [1790000090, 1], "finished": [1790000110, 999999999], "copied_from": [ids[0][:16].hex(), ids[1].hex()]})
    stack = {0: "matrix", 1: '{"stack":"matrix"}', 2: [[b"/matrix/dumps/postgres", 2, 1 << 40], [b"/matrix/persist/media", 1, 7],
             [b"/matrix/secrets.age", 3, 200]], 3: [["postgres", "verify", "42\n\u00e4"]]}
    shown = ["matrix", '{"stack":"matrix"}', [[path.hex(), kind, size] for path, kind, size in stack[2]], stack[3]]
    good(5, "snapshot of a stack", snapshot_map(inline, _19=stack), {**fields, "stack": shown})
    empty = {0: "x", 1: "", 2: [], 3: []}
    good(5, "snapshot of a stack without parts", snapshot_map(inline, _19=empty), {**fields, "stack": ["x", "", [], []]})
    more = {**stack, 2: [part + [1] for part in stack[2]] + [[b"/matrix/new", 4, 1]], 3: [[*stack[3][0], "more"]], 4: 1}
    v.good("read_snapshot", "snapshot of a stack with an unknown key, kind and elements",
           {**COMMON, "object": build(5, snapshot_map(inline, _19=more)).hex()}, {"fields": {**fields, "stack": shown}})
    unknown = {**snapshot_map(inline), 200: {0: [1, "ignored"]}}
    v.good("read_snapshot", "snapshot with an unknown key", {**COMMON, "object": build(5, unknown).hex()}, {"fields": fields})
    more = snapshot_map([0, b"", 1], _0=[1790000100, 0, 7], _10=[[b"/srv/lock", "permission denied", 1]],
                        _12=[[0, b"root", b""], [1000, b"user"]], _9={**{i: i for i in range(11)}, 11: 5})
    v.good("read_snapshot", "snapshot with unknown array elements and statistics", {**COMMON, "object": build(5, more).hex()},
           {"fields": fields})
    v.good("read_intent", "intent with an unknown key", {**COMMON, "object": build(6, {**INTENT_MAP, 5: 1}).hex()},
           {"fields": {"started": [1790000000, 5], "host": "host", "process": 4242, "boot": "boot-1234", "program": "program 1.0"}})

    envelopes_of_clients(v, good, snapshot_map(inline), fields, ids)

    proof = {0: ids[0], 1: [1, reference], 2: [1790000200, 0], 3: [1790000260, 5], 4: "host", 5: "program 1.0", 6: 1, 7: 12,
             8: 1 << 33, 9: [["postgres", 3], ["redis", 1], ["web", 2]], 10: []}
    shown = {"snapshot": ids[0].hex(), "root": {"chunks": [{"id": reference[:32].hex(), "length": 300000}]},
             "started": [1790000200, 0], "finished": [1790000260, 5], "host": "host", "program": "program 1.0", "result": 1,
             "files": 12, "bytes": 1 << 33, "services": proof[9], "problems": []}
    good(13, "proof", proof, shown)
    failed = {**proof, 6: 2, 9: [], 10: [[b"/app/dumps/postgres", "verify printed 3, not 4"]]}
    good(13, "proof of a failure", failed, {**shown, "result": 2, "services": [], "problems": [[failed[10][0][0].hex(), failed[10][0][1]]]})
    v.good("read_proof", "proof with an unknown key and elements",
           {**COMMON, "object": build(13, {**proof, 9: [[*service, 1] for service in proof[9]], 11: "new"}).hex()}, {"fields": shown})

    def bad(op, name, data, why, **inputs):
        v.bad("read_" + op, name, {**COMMON, **inputs, "object": data.hex()}, why)

    for name, map_ in (("result 3", {**proof, 6: 3}), ("state 4 of a service", {**proof, 9: [["x", 4]]}),
                       ("no root", {key: value for key, value in proof.items() if key != 1})):
        bad("proof", name, build(13, map_), "not allowed (the seal and the MAC are right)")

    bad_envelopes(v, bad, {"intent": INTENT_MAP, "snapshot": snapshot_map(inline), "proof": proof})
    bad_snapshots(bad, stack, reference)
    bad_envelopes_of_clients(bad, snapshot_map(inline), proof)
    v.write()


def bad_envelopes(v, bad, maps):
    """Envelopes that are not what they say, whatever their maps."""
    for op, kind in (("intent", 6), ("snapshot", 5), ("proof", 13)):
        map_ = maps[op]
        data = build(kind, map_)
        own_map = {**map_, 1: CLIENT.host} if kind == 5 else map_
        bad_auth(v, "read_" + op, "object", {1, 3} if kind == 13 else {1, 2, 3}, lambda keys, auth_kind, client: (
            build_as_client(kind, own_map, client) if auth_kind == 2 else build(kind, map_, keys, auth_kind=auth_kind)), prefix=op + ": ")
        inner = flip(data[:-33], -20)
        bad(op, op + ": ciphertext flipped", inner + data[-33:], "the authentication is wrong")
        bad(op, op + ": ciphertext flipped, auth right", e.auth(KEYS, inner), "does not decrypt")
        inner = flip(data[:-33], 8)
        bad(op, op + ": session id flipped, auth right", e.auth(KEYS, inner), "the record does not decrypt")
        bad(op, op + ": version 2", build(kind, map_, version=2), "version is not known")
        bad(op, op + ": the other kind", build(5 if kind == 6 else 6, map_), "the kind is another")
        bad(op, op + ": kind patched, auth right", e.auth(KEYS, patch(data[:-33], 4, bytes([5 if kind == 6 else 6]))), "the kind is another")
        other = build(5 if kind == 6 else 6, map_)
        bad(op, op + ": body of the other kind", e.auth(KEYS, data[:8] + other[8:-33]), "the header is authenticated by the seal")
        bad(op, op + ": truncated", data[:150], "too short")
        bad(op, op + ": byte after the map", build(kind, cbor(map_) + b"\0"), "the map is all there is")
        bad(op, op + ": no map", build(kind, b"\x80"), "not a map")
        bad(op, op + ": no time", build(kind, {**map_, 0: None}), "a key is missing")


def bad_snapshots(bad, stack, reference):
    for name, changes in (("number 0", {"_8": 0}), ("number above 2^63", {"_8": (1 << 63) + 1}), ("tags not sorted", {"_4": ["b", "a"]}), ("tag twice", {"_4": ["a", "a"]}),
                          ("uid twice", {"_12": [[1, b"a"], [1, b"b"]]}), ("groups not ascending", {"_13": [[1, b"a"], [0, b"b"]]}),
                          ("uid 2^32", {"_12": [[1 << 32, b"a"]]}), ("no paths", {"_2": None}), ("no tags", {"_4": None}),
                          ("no problems", {"_10": None}), ("no users", {"_12": None}), ("no groups", {"_13": None}),
                          ("statistics without key 10", {"_9": {i: i for i in range(10)}}), ("relative path", {"_2": [b"home"]}),
                          ("content depth 5", {"_3": [2, 5, reference]}), ("parent of 31 bytes", {"_6": bytes(31)}),
                          ("uids not ascending", {"_12": [[1, b"a"], [0, b"b"]]}), ("no statistics", {"_9": None}),
                          ("1001 problems", {"_10": [[b"/", ""]] * 1001}), ("host as bytes", {"_1": b"host"}),
                          ("stack without a name", {"_19": {**stack, 0: ""}}), ("stack without a manifest", {"_19": {0: "x", 2: [], 3: []}}),
                          ("stack without parts", {"_19": {0: "x", 1: "", 3: []}}), ("stack without facts", {"_19": {0: "x", 1: "", 2: []}}),
                          ("part with a relative path", {"_19": {**stack, 2: [[b"matrix", 1, 0]]}}),
                          ("part of two elements", {"_19": {**stack, 2: [[b"/matrix", 1]]}}),
                          ("fact of two elements", {"_19": {**stack, 3: [["a", "b"]]}}), ("stack as text", {"_19": "matrix"})):
        bad("snapshot", "snapshot: " + name, build(5, snapshot_map([0, b""], **changes)), "not allowed by the table")


def envelopes_of_clients(v, good, usual, fields, ids):
    """What write-only clients sign, and auth of other kinds and epochs. `usual` is the map of a snapshot, `fields` what it says."""
    def good_as_client(kind, name, map_, fields, client=CLIENT):
        good(kind, name, map_, fields, THREE, client)

    intent_fields = {"started": [1790000000, 5], "host": "host", "process": 4242, "boot": "boot-1234", "program": "program 1.0"}
    good_as_client(6, "intent of a client", INTENT_MAP, intent_fields)
    own_map, own = {**usual, 1: "web1"}, {**fields, "host": "web1"}
    good_as_client(5, "snapshot of a client", own_map, own)
    good_as_client(5, "snapshot of another client of the same domain", {**usual, 1: "web2"}, {**fields, "host": "web2"}, SECOND_CLIENT)
    good_as_client(5, "snapshot of a client: keys 14, 15 and 20 say nothing",
                   {**own_map, 6: ids[0], 7: ids[1], 14: ids[2], 15: ids[3], 20: [ids[0][:16], ids[1]]},
                   {**own, "parent": ids[0].hex(), "previous": ids[1].hex()})
    for op, kind, map_, shown in (("intent", 6, INTENT_MAP, intent_fields), ("snapshot", 5, usual, fields)):
        def read(name, data, common=COMMON, op=op, shown=shown):
            v.good(f"read_{op}", f"{op}: {name}", {**common, "object": data.hex()}, {"fields": shown})
        read("auth kind 3", build(kind, map_, auth_kind=3))
        later = Session("session of epoch 1", keys=NEXT_KEYS, epoch=1)
        read("of the former epoch", build(kind, map_), NEXT_COMMON)
        read("of epoch 1", build(kind, map_, NEXT_KEYS, later), NEXT_COMMON)
        read("record of epoch 0 under auth of epoch 1", build(kind, map_, NEXT_KEYS), NEXT_COMMON)
    later = Session("session of epoch 1", THREE.domain, NEXT_KEYS, 1)
    v.good("read_snapshot", "snapshot: of a client, epoch 1",
           {**NEXT_COMMON, "client": CLIENT.shown(), "object": build_as_client(5, own_map, keys=NEXT_KEYS, session=later).hex()},
           {"fields": own})
    for said in ("other", "WEB1", ""):
        v.good("read_snapshot", f"snapshot: of a client, said to be of host {said!r}",
               {**COMMON, "client": CLIENT.shown(), "object": build_as_client(5, {**usual, 1: said}).hex()}, {"fields": own})
    v.good("read_snapshot", "snapshot: of full clients in the client's domain, of whatever host",
           {**COMMON, "client": CLIENT.shown(), "object": build(5, {**usual, 1: "other"}, session=THREE).hex()},
           {"fields": {**fields, "host": "other"}})


def bad_envelopes_of_clients(bad, usual, proof):
    def bad_as_client(op, kind, name, why, map_, client=CLIENT, **more):
        bad(op, f"{op} of a client: {name}", build_as_client(kind, map_, client, **more), why + " (seal and signature are right)",
            client=client.shown())

    own_map = {**usual, 1: "web1"}
    third = Session("session four", THIRD_CLIENT.domain)
    for op, kind, map_ in (("intent", 6, INTENT_MAP), ("snapshot", 5, own_map)):
        bad_as_client(op, kind, "domain 0", "what a client signs is of its own domain", map_, session=ONE)
        bad_as_client(op, kind, "another client's domain", "what a client signs is of its own domain", map_, session=third)
        bad_as_client(op, kind, "version 2", "version is not known", map_, version=2)
        bad_as_client(op, kind, "byte after the map", "the map is all there is", cbor(map_) + b"\0")
        data = build_as_client(kind, map_)
        bad(op, f"{op} of a client: ciphertext flipped, signature right", e.auth(KEYS, flip(data[:-81], -1), 2, CLIENT), "does not decrypt",
            client=CLIENT.shown())
        patched = patch(build_as_client(kind, map_, session=ONE)[:-81], 24, CLIENT.domain)
        bad(op, f"{op} of a client: domain of the record patched, signature right", e.auth(KEYS, patched, 2, CLIENT),
            "the domain is authenticated by the record's seal", client=CLIENT.shown())
    bad_as_client("snapshot", 5, "host as bytes", "what it says of its host is decoded", {**usual, 1: b"web1"})
    bad_as_client("snapshot", 5, "no host", "what it says of its host is decoded", {key: value for key, value in usual.items() if key != 1})
    for key, value in ((14, bytes(31)), (15, "text"), (20, [bytes(16)])):
        bad_as_client("snapshot", 5, f"key {key} of another type", "keys that say nothing are decoded", {**own_map, key: value})
    bad_as_client("proof", 13, "of a client", "proofs are full clients'", proof)


# register ------------------------------------------------------------------------------------------------------------


def register():
    v = Vectors("register")
    snapshot = xof("snapshot 0", 32)
    usual = {0: ONE.id, 1: 1, 2: snapshot}

    def shown(map_):
        return {"session_id": map_[0].hex(), "state": map_[1], "snapshot": map_[2].hex() if 2 in map_ else None}

    def as_client(map_, client=CLIENT, **more):
        return e.register(KEYS, map_, auth_kind=2, client=client, **more)

    for name, map_ in (("committed with a snapshot", usual), ("committed without", {0: ONE.id, 1: 1}), ("revoked", {0: TWO.id, 1: 2})):
        v.good("register", name, {**COMMON, **shown(map_)}, {"register": e.register(KEYS, map_).hex()})
        v.good("register", name + ", by a client", {**COMMON, **shown(map_), "client": CLIENT.shown()}, {"register": as_client(map_).hex()})
    ignored = {0: TWO.id, 1: 2, 2: snapshot}
    v.good("read_register", "revoked with a snapshot, which is ignored", {**COMMON, "register": e.register(KEYS, ignored).hex()},
           {**shown(ignored), "snapshot": None})
    unknown = {**usual, 3: ["ignored"]}
    v.good("read_register", "a key that is not known", {**COMMON, "register": e.register(KEYS, unknown).hex()}, shown(usual))
    v.good("read_register", "a key that is not known, by a client",
           {**COMMON, "client": CLIENT.shown(), "register": as_client(unknown).hex()}, shown(usual))
    for name, keys in (("of the former epoch", KEYS), ("of epoch 1", NEXT_KEYS)):
        v.good("read_register", name, {**NEXT_COMMON, "register": e.register(keys, usual).hex()}, shown(usual))

    def bad(name, data, why, **inputs):
        v.bad("read_register", name, {**COMMON, **inputs, "register": data.hex()}, why)

    data = e.register(KEYS, usual)
    bad_auth(v, "read_register", "register", {2, 3}, lambda keys, kind, client: e.register(keys, usual, auth_kind=kind, client=client))
    bad("state changed under the MAC", patch(data, 8 + 1 + 18 + 1, b"\2"), "the authentication is wrong")
    bad("state changed under the signature", patch(as_client(usual), 8 + 1 + 18 + 1, b"\2"), "the signature is wrong", client=CLIENT.shown())
    bad("signature of another client, then its id", as_client(usual, CLIENT._replace(id=SECOND_CLIENT.id)),
        "the signature is not that of the client that it names", client=SECOND_CLIENT.shown())
    bad("of epoch 1, by the root of epoch 0", e.register(NEXT_KEYS, usual), "the authentication is wrong")
    bad("truncated", data[:40], "too short")
    for name, map_ in (("state 0", {0: ONE.id, 1: 0}), ("state 3", {0: ONE.id, 1: 3}), ("no state", {0: ONE.id}),
                       ("session id of 17 bytes", {0: ONE.id + b"\0", 1: 1}), ("snapshot of 31 bytes", {**usual, 2: snapshot[:31]}),
                       ("byte after the map", cbor(usual) + b"\0"), ("keys not ascending", b"\xa2\x01\x01\x00\x50" + ONE.id),
                       ("key repeated", b"\xa3\x00\x50" + ONE.id + b"\x01\x01\x01\x02")):
        bad(name, e.register(KEYS, map_), "not allowed (the MAC is right)")
        bad(name + ", by a client", as_client(map_), "not allowed (the signature is right)", client=CLIENT.shown())
    for more, name in (({}, ""), ({"auth_kind": 2, "client": CLIENT}, ", by a client")):
        inputs = {"client": CLIENT.shown()} if more else {}
        bad("version 2" + name, e.register(KEYS, usual, version=2, **more), "version is not known (auth is right)", **inputs)
        bad("kind of a record" + name, e.plain_object(11, 3)(KEYS, usual, **more), "kind is another (auth is right)", **inputs)
    register_as_client(v, usual, shown)
    v.write()


def register_as_client(v, usual, shown):
    """What write-only client CLIENT makes of registers: it has the public key of the full clients' signatures and its own."""
    common = {"signature_public": signature_publics(KEYS).hex(), "client": CLIENT.shown()}
    both = {"signature_public": signature_publics(NEXT_KEYS).hex()}

    def good(name, data, map_=usual, **inputs):
        v.good("read_register_as_client", name, {**common, **inputs, "register": data.hex()}, shown(map_))

    def bad(name, data, why, **inputs):
        v.bad("read_register_as_client", name, {**common, **inputs, "register": data.hex()}, why)

    data, own = e.register(KEYS, usual), e.register(KEYS, usual, auth_kind=2, client=CLIENT)
    good("of full clients", data)
    good("of full clients, revoked", e.register(KEYS, {0: TWO.id, 1: 2}), {0: TWO.id, 1: 2})
    good("of full clients, MAC flipped: it can't be checked", flip(data, -2))
    good("of full clients, MAC all zeros", data[:-33] + bytes(32) + data[-1:])
    good("its own", own)
    later = e.register(NEXT_KEYS, usual)
    good("of full clients of epoch 0, credential of epoch 1", data, **both)
    good("of full clients of epoch 1, credential of epoch 1", later, **both)
    good("its own, credential of epoch 1", own, **both)
    bad("of full clients of epoch 1, credential of epoch 0", later, "the signature is by no key that it knows")
    bad("signature flipped, credential of epoch 1", flip(later, -97), "the signature is wrong", **both)
    bad("by another root, credential of epoch 1", e.register(OTHER_KEYS, usual), "the signature is by no key that it knows", **both)
    for name, at in (("first half of the signature", -97), ("second half of the signature", -65), ("session id", 12)):
        bad(name + " flipped", flip(data, at), "the signature is wrong")
    forged = data[:-97] + e.sign(CLIENT.seed, data[:-97] + b"\3")
    bad("signed with its own key as if by full clients", e.with_mac(KEYS, forged, 3), "the signature is wrong (the MAC is right)")
    unsigned = e.with_mac(KEYS, data[:-97] + bytes(64), 3)
    bad("signature all zeros", unsigned, "the signature is wrong (the MAC is right)")
    larger = data[:-97] + same_signature(data[-97:-33])
    bad("signature larger by the group order", e.with_mac(KEYS, larger, 3), "RFC 8032: the second half is below the group order (the MAC is right)")
    without = data[:-97] + e.sign(KEYS.now.signature_seed, data[:-97])
    bad("signature without the kind", e.with_mac(KEYS, without, 3), "the signature is of the kind, too (the MAC is right)")
    bad("by another root", e.register(OTHER_KEYS, usual), "the signature is wrong")
    bad("another public key", data, "the signature is wrong", signature_public=OTHER_KEYS.now.signature_public.hex())
    for other, name in ((SECOND_CLIENT, "another client of its domain"), (THIRD_CLIENT, "a client of another domain")):
        bad("of " + name, e.register(KEYS, usual, auth_kind=2, client=other), "it knows no key of other clients (the signature is right)")
    bad("of another client under its id", e.register(KEYS, usual, auth_kind=2, client=SECOND_CLIENT._replace(id=CLIENT.id)), "the signature is wrong")
    bad("its own, signature flipped", flip(own, -65), "the signature is wrong")
    bad("its own key under another client's id", e.register(KEYS, usual, auth_kind=2, client=CLIENT._replace(id=SECOND_CLIENT.id)),
        "its key is not that client's (the signature is right by it)")
    for kind in (0, 1, 4):
        bad(f"auth kind {kind}", e.register(KEYS, usual, auth_kind=kind), "auth of this kind can't be checked, or is not known (the MAC is right)")
    bad("version 2", e.register(KEYS, usual, version=2), "version is not known (the signature is right)")
    bad("state 3", e.register(KEYS, {0: ONE.id, 1: 3}), "not allowed (the signature is right)")
    bad("byte after the map", e.register(KEYS, cbor(usual) + b"\0"), "not allowed (the signature is right)")
    bad("truncated", data[:40], "too short")


# forgotten -----------------------------------------------------------------------------------------------------------


def forgotten():
    v = Vectors("forgotten")
    snapshot, time = xof("snapshot 0", 32), [1790000000, 123456789]
    usual = {0: snapshot, 1: time, 2: 1, 3: "web1", 4: "repo 0.1.0"}

    def fields(map_):
        return {"snapshot": map_[0].hex(), "time": map_[1], "why": map_[2], "host": map_.get(3), "program": map_.get(4)}

    for name, map_ in (("forgotten", usual), ("replaced", {**usual, 2: 2}), ("without host and program", {0: snapshot, 1: time, 2: 1}),
                       ("before 1970, host of two bytes a letter", {0: snapshot, 1: [-5, 999999999], 2: 1, 3: "ört"})):
        v.good("forgotten", name, {**COMMON, **fields(map_)}, {"forgotten": e.forgotten(KEYS, map_).hex()})

    def bad(name, data, why):
        v.bad("read_forgotten", name, {**COMMON, "forgotten": data.hex()}, why)

    v.good("read_forgotten", "a key and an element that are not known",
           {**COMMON, "forgotten": e.forgotten(KEYS, {**usual, 1: time + [7], 5: [b"new"]}).hex()}, fields(usual))
    v.good("read_forgotten", "auth kind 3", {**COMMON, "forgotten": e.forgotten(KEYS, usual, auth_kind=3).hex()}, fields(usual))
    v.good("read_forgotten", "of the former epoch", {**NEXT_COMMON, "forgotten": e.forgotten(KEYS, usual).hex()}, fields(usual))
    data = e.forgotten(KEYS, usual)
    bad_auth(v, "read_forgotten", "forgotten", {1, 3}, lambda keys, kind, client: e.forgotten(keys, usual, auth_kind=kind, client=client))
    bad("snapshot changed under the MAC", flip(data, 8 + 1 + 1 + 2), "the authentication is wrong")
    bad("version 2", e.forgotten(KEYS, usual, version=2), "version is not known (the MAC is right)")
    bad("kind 7", e.plain_object(7, 1)(KEYS, usual), "kind is not that of a record (the MAC is right)")
    bad("truncated", data[:40], "too short")
    without = {number: {key: value for key, value in usual.items() if key != number} for number in (0, 1, 2)}
    for name, map_ in (("why 0", {**usual, 2: 0}), ("why 3", {**usual, 2: 3}), ("no snapshot", without[0]), ("no time", without[1]),
                       ("no why", without[2]), ("snapshot of 31 bytes", {**usual, 0: snapshot[:31]}),
                       ("nanoseconds too large", {**usual, 1: [0, 10**9]}), ("time of one element", {**usual, 1: [0]}),
                       ("host as bytes", {**usual, 3: b"web1"}), ("byte after the map", cbor(usual) + b"\0"),
                       ("key repeated", b"\xa4\x00\x58\x20" + snapshot + b"\x01\x82\x00\x00\x02\x01\x02\x01")):
        bad(name, e.forgotten(KEYS, map_), "not allowed (the MAC is right)")
    v.write()


# prune ---------------------------------------------------------------------------------------------------------------


def prune():
    v = Vectors("prune")
    packs, snapshots = sorted(xof(f"pack {n}", 32) for n in range(3)), sorted(xof(f"snapshot {n}", 32) for n in range(2))
    sessions = sorted(xof(f"session {n}", 16) for n in range(2))
    time, early = [1790000000, 123456789], [-5, 999999999]
    plan = {0: 1, 1: time, 2: "repo 0.1.0", 3: b"".join(packs), 4: b"".join(snapshots)}
    sweep, cancelled = {0: 1, 1: 1, 2: packs[1]}, {0: 1, 1: 2}
    done = {0: 1, 1: time, 2: [[id_, time] for id_ in sessions], 3: [[snapshots[0], early]], 4: 123456789}
    make = {"plan": e.plan, "state": e.state, "done": e.done}

    def ids(value):
        return [value[at:at + 32].hex() for at in range(0, len(value), 32)]

    def fields(what, map_):
        if what == "plan":
            return {"number": map_[0], "time": map_[1], "program": map_[2], "condemned": ids(map_[3]), "dropped": ids(map_[4])}
        if what == "state":
            return {"number": map_[0], "state": map_[1], "rescued": ids(map_[2]) if map_[1] == 1 else None}
        return {"number": map_[0], "time": map_[1], "sessions": [[id_.hex(), time] for id_, time in map_[2]],
                "records": [[id_.hex(), time] for id_, time in map_[3]], "freed_bytes": map_[4]}

    for what, name, map_ in (("plan", "usual", plan), ("plan", "condemns and drops nothing", {**plan, 3: b"", 4: b""}),
                             ("plan", "largest number", {**plan, 0: 2**64 - 1}), ("state", "sweep", sweep),
                             ("state", "sweep without rescued packs", {**sweep, 2: b""}), ("state", "cancelled", cancelled),
                             ("done", "usual", done), ("done", "nothing noticed", {**done, 2: [], 3: [], 4: 0})):
        v.good(what, f"{what}: {name}", {**COMMON, **fields(what, map_)}, {"object": make[what](KEYS, map_).hex()})

    def good(what, name, map_, known):
        v.good(f"read_{what}", f"{what}: {name}", {**COMMON, "object": make[what](KEYS, map_).hex()}, fields(what, known))

    good("plan", "a key and an element that are not known", {**plan, 1: time + [7], 5: [b"new"]}, plan)
    good("state", "a key that is not known", {**sweep, 3: "new"}, sweep)
    good("state", "cancelled, with rescued packs", {**cancelled, 2: packs[1]}, cancelled)
    good("done", "keys and elements that are not known",
         {**done, 2: [[id_, time + [7], b"new"] for id_ in sessions], 5: True}, done)

    def bad(what, name, data, why):
        v.bad(f"read_{what}", f"{what}: {name}", {**COMMON, "object": data.hex()}, why)

    for what, map_ in (("plan", plan), ("state", sweep), ("done", done)):
        data = make[what](KEYS, map_)
        bad_auth(v, "read_" + what, "object", {3}, lambda keys, kind, client: make[what](keys, map_, auth_kind=kind, client=client), prefix=what + ": ")
        bad(what, "number changed under the MAC", flip(data, 8 + 1 + 1), "the authentication is wrong")
        bad(what, "version 2", make[what](KEYS, map_, version=2), "version is not known (the MAC is right)")
        bad(what, "kind of a register", e.register(KEYS, map_), "kind is another (the MAC is right)")
        bad(what, "truncated", data[:40], "too short")
        bad(what, "number 0", make[what](KEYS, {**map_, 0: 0}), "plans are numbered from 1 (the MAC is right)")
        bad(what, "byte after the map", make[what](KEYS, cbor(map_) + b"\0"), "not allowed (the MAC is right)")
        for key in map_:
            without = {number: value for number, value in map_.items() if number != key}
            bad(what, f"no key {key}", make[what](KEYS, without), "not allowed (the MAC is right)")
    wrong = [("plan", plan, 3, "condemned packs"), ("plan", plan, 4, "dropped snapshots"), ("state", sweep, 2, "rescued packs")]
    for what, map_, key, name in wrong:
        for how, value in (("of 33 bytes", packs[0] + b"\0"), ("that descend", packs[1] + packs[0]), ("that repeat", packs[0] * 2),
                           ("as an array", packs[:2])):
            bad(what, f"{name} {how}", make[what](KEYS, {**map_, key: value}), "not allowed (the MAC is right)")
    for name, map_ in (("state 0", {**sweep, 1: 0}), ("state 3", {**sweep, 1: 3}), ("state as text", {**sweep, 1: "sweep"})):
        bad("state", name, e.state(KEYS, map_), "not allowed (the MAC is right)")
    noticed = [[sessions[0], time], [sessions[1], time]]
    for name, value in (("that descend", noticed[::-1]), ("that repeat", noticed[:1] * 2), ("of 15 bytes", [[sessions[0][:15], time]]),
                        ("without a time", [[sessions[0]]]), ("with too many nanoseconds", [[sessions[0], [0, 10**9]]])):
        bad("done", f"sessions {name}", e.done(KEYS, {**done, 2: value}), "not allowed (the MAC is right)")
    records = [[snapshots[0], time], [snapshots[1], time]]
    for name, value in (("that descend", records[::-1]), ("with the id of a session", [[sessions[0], time]])):
        bad("done", f"records {name}", e.done(KEYS, {**done, 3: value}), "not allowed (the MAC is right)")
    v.write()


# clients -------------------------------------------------------------------------------------------------------------


def clients():
    v = Vectors("clients", {**COMMON, **ONE.inputs()})
    nonce = xof("client nonce", 24)
    sessions, indexes = sorted(xof(f"session {n}", 16) for n in range(3)), sorted(xof(f"index {n}", 32) for n in range(2))
    record = CLIENT.map()
    end = {0: CLIENT.id, 1: [1790000300, 7], 2: b"".join(sessions), 3: b"".join(indexes)}
    kinds = {"client": 14, "client_end": 15}

    def build(op, map_, keys=KEYS, session=ONE, kind=None, **more):
        plain = map_ if isinstance(map_, bytes) else cbor(map_)
        return e.envelope(keys, kind or kinds[op], session.record, session.dek, nonce, plain, **more)

    def fields(map_):
        if 5 in map_:
            return {"client_id": map_[0].hex(), "domain": map_[1].hex(), "signature_public": map_[2].hex(), "host": map_[3],
                    "created": map_[4], "label": map_[5]}
        def ids(value, length):
            return [value[at:at + length].hex() for at in range(0, len(value), length)]
        return {"client_id": map_[0].hex(), "time": map_[1], "sessions": ids(map_[2], 16), "indexes": ids(map_[3], 32)}

    for op, name, map_ in (("client", "usual", record), ("client", "label empty", CLIENT.map(_5="")),
                           ("client", "before 1970, host and label of two bytes a letter", THIRD_CLIENT.map(_3="\u00f6rt", _4=[-5, 0], _5="k\u00fcche")),
                           ("client_end", "usual", end), ("client_end", "nothing counts", {**end, 2: b"", 3: b""})):
        v.good(op, f"{op}: {name}", {**COMMON, **ONE.inputs(), "nonce": nonce.hex(), "cbor": cbor(map_).hex()},
               {"object": build(op, map_).hex(), "record": ONE.record.hex(), "fields": fields(map_)})
    later = Session("session of epoch 1", keys=NEXT_KEYS, epoch=1)
    for op, map_ in (("client", record), ("client_end", end)):
        def good(name, data, op=op, map_=map_, common=COMMON):
            v.good("read_" + op, f"{op}: {name}", {**common, "object": data.hex()}, {"fields": fields(map_)})
        good("auth kind 3", build(op, map_, auth_kind=3))
        time = 4 if op == "client" else 1
        good("a key and an element that are not known", build(op, {**map_, time: map_[time] + [1], 9: "new"}))
        good("its session key record of another domain, which nobody checks", build(op, map_, session=THREE))
        good("of the former epoch", build(op, map_), common=NEXT_COMMON)
        good("of epoch 1", build(op, map_, NEXT_KEYS, later), common=NEXT_COMMON)

        def bad(name, data, why, op=op):
            v.bad("read_" + op, f"{op}: {name}", {**COMMON, "object": data.hex()}, why)
        data, other = build(op, map_), {"client": 15, "client_end": 14}[op]
        bad_auth(v, "read_" + op, "object", {1, 3}, lambda keys, kind, client: build(op, map_, keys, auth_kind=kind, client=client), prefix=op + ": ")
        bad("ciphertext flipped, auth right", e.auth(KEYS, flip(data[:-33], -1)), "does not decrypt")
        bad("session id flipped, auth right", e.auth(KEYS, flip(data[:-33], 8)), "the record does not decrypt")
        bad("kind patched, auth right", e.auth(KEYS, patch(data[:-33], 4, bytes([other]))), "the kind is another")
        bad("the other kind", build(op, map_, kind=other), "the kind is another (all else is consistent)")
        bad("kind of a proof", build(op, map_, kind=13), "the kind is another (all else is consistent)")
        bad("body of the other kind", e.auth(KEYS, data[:8] + build(op, map_, kind=other)[8:-33]), "the header is authenticated by the seal")
        bad("version 2", build(op, map_, version=2), "version is not known (all else is consistent)")
        bad("of epoch 1, by the root of epoch 0", build(op, map_, NEXT_KEYS, later), "the authentication is wrong")
        bad("truncated", data[:150], "too short")
        bad("byte after the map", build(op, cbor(map_) + b"\0"), "the map is all there is (all else is consistent)")
        bad("no map", build(op, b"\x80"), "not a map (all else is consistent)")
        for key in map_:
            bad(f"no key {key}", build(op, {**map_, key: None}), "not allowed (all else is consistent)")
        bad("client id of 15 bytes", build(op, {**map_, 0: CLIENT.id[:15]}), "not allowed (all else is consistent)")
        bad("nanoseconds 10^9", build(op, {**map_, time: [0, 10**9]}), "not allowed (all else is consistent)")
    op = "client"
    for name, changes in (("domain 0", {"_1": bytes(16)}), ("domain of 17 bytes", {"_1": CLIENT.domain + b"\0"}), ("host empty", {"_3": ""}),
                          ("host as bytes", {"_3": b"web1"}), ("label as bytes", {"_5": b"label"}),
                          ("signature key of 31 bytes", {"_2": ed25519_public(CLIENT.seed)[:31]}), ("signature key of 33 bytes", {"_2": bytes(33)})):
        bad(name, build(op, CLIENT.map(**changes)), "not allowed (all else is consistent)", op)
    op = "client_end"
    for key, what, ids in ((2, "sessions", sessions), (3, "index objects", indexes)):
        for name, value in (("that descend", ids[1] + ids[0]), ("that repeat", ids[0] * 2), ("cut short", ids[0][:-1]), ("with a byte more", ids[0] + b"\0"),
                            ("as an array", ids)):
            bad(f"{what} {name}", build(op, {**end, key: value}), "not allowed (all else is consistent)", op)
    v.write()
