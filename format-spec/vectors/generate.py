#!/usr/bin/env python3
"""Makes the test vectors from FORMAT.md, always the same bytes.

    generate.py                     writes *.json beside this file
    generate.py --repository DIR    makes a small complete repository (password "correct horse") to try a reader on
"""

import json
import os
import struct
import sys

import encode as e
from encode import cbor, hash_, keyed, u24, u32, xof

from cutting import content_of_references, cut_data, cut_nodes, cut_pages
from repo_format import DomainKeys, PagesProfile, Profile, RootKeys, SessionKeys, padme

HERE = os.path.dirname(os.path.abspath(__file__))

ROOT, REPOSITORY = xof("root secret", 32), xof("repository id", 16)
KEYS = RootKeys(ROOT, REPOSITORY)
DOMAIN, OTHER_DOMAIN = bytes(16), xof("another domain", 16)
COMMON = {"root": ROOT.hex(), "repository_id": REPOSITORY.hex()}


class Session:
    def __init__(self, name, domain=DOMAIN):
        self.id, self.dek, self.ephemeral = (xof(f"{name} {part}", size) for part, size in
                                             (("id", 16), ("dek", 32), ("ephemeral secret", 32)))
        self.domain = domain
        self.record = e.record(KEYS, self.id, domain, self.dek, self.ephemeral)
        self.keys = SessionKeys(self.dek, self.id)

    def inputs(self):
        return {"session_id": self.id.hex(), "domain": self.domain.hex(), "dek": self.dek.hex(),
                "ephemeral_secret": self.ephemeral.hex()}


ONE, TWO = Session("session one"), Session("session two")


class Vectors:
    def __init__(self, topic, common=None):
        self.topic, self.list, self.common = topic, [], COMMON if common is None else common

    def good(self, op, name, inputs, expected):
        self.list.append({"name": name, "op": op, "inputs": inputs, "expected": expected})

    def bad(self, op, name, inputs, why):
        self.list.append({"name": name, "op": op, "inputs": inputs, "error": True, "why": why})

    def write(self):
        for vector in self.list:
            vector["inputs"] = {key: value for key, value in vector["inputs"].items() if key not in self.common or self.common[key] != value}
        # One vector a line: readable as a diff, without an indented line for each number.
        lines = ",\n".join(json.dumps(vector) for vector in self.list)
        with open(os.path.join(HERE, self.topic + ".json"), "w") as file:
            file.write(f'{{"topic": "{self.topic}", "format_version": 1,\n"common": {json.dumps(self.common)},\n'
                       f'"vectors": [\n{lines}\n]}}\n')


def flip(data, at):
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def patch(data, at, new):
    return data[:at] + new + data[at + len(new) :]


# keys ----------------------------------------------------------------------------------------------------------------


def keys():
    v = Vectors("keys", {})
    for name, root, repository in (("derived test root", ROOT, REPOSITORY), ("counting bytes", bytes(range(32)), bytes(range(16)))):
        k = RootKeys(root, repository)
        v.good("root_keys", name, {"root": root.hex(), "repository_id": repository.hex()}, {
            "control_key": k.control.hex(), "recipient_secret": k.recipient_secret.hex(),
            "recipient_public": k.recipient_public.hex(), "label_key": k.label.hex()})
        for domain in (DOMAIN, OTHER_DOMAIN):
            d = DomainKeys(k.material, domain)
            gear = struct.unpack("<256Q", d.gear_table)
            v.good("domain_keys", f"{name}, domain {domain.hex()[:4]}",
                   {"root": root.hex(), "repository_id": repository.hex(), "domain": domain.hex()}, {
                       "data_id_key": d.data_id.hex(), "tree_id_key": d.tree_id.hex(),
                       "tree_chunker_key": d.tree_chunker.hex(), "index_key": d.index.hex(),
                       "gear_first": gear[0], "gear_last": gear[255], "gear_table_hash": hash_(d.gear_table).hex()})
    for kind, number in (("data", 1), ("tree", 2)):
        plain = b"a chunk"
        v.good("chunk_id", f"a {kind} chunk", {**COMMON, "domain": DOMAIN.hex(), "kind": number, "plaintext": plain.hex()},
               {"id": KEYS.domain(DOMAIN).chunk_id(number, plain).hex()})
    for session in (ONE, TWO):
        v.good("session_keys", f"session {session.id.hex()[:4]}", {"dek": session.dek.hex(), "session_id": session.id.hex()},
               {"segment_key": session.keys.segment.hex(), "nonce_key": session.keys.nonce.hex(),
                "object_key": session.keys.object.hex()})
    key, nonce_key, random = xof("sealing key", 32), xof("nonce key", 32), xof("random", 32)
    for name, aad, plain in (("a short text", b"aad", b"plain text"), ("nothing", b"", b"")):
        nonce = keyed(nonce_key, random + aad + plain)[:24]
        sealed = e.seal(key, aad, plain, nonce)
        inputs = {"key": key.hex(), "aad": aad.hex()}
        v.good("seal", name, {**inputs, "nonce_key": nonce_key.hex(), "random": random.hex(), "plaintext": plain.hex()},
               {"nonce": nonce.hex(), "sealed": sealed.hex()})
    v.bad("unseal", "seal: tag flipped", {**inputs, "sealed": flip(sealed, -1).hex()}, "the tag does not verify")
    v.bad("unseal", "seal: nonce flipped", {**inputs, "sealed": flip(sealed, 0).hex()}, "the tag does not verify")
    v.bad("unseal", "seal: 39 bytes", {**inputs, "sealed": sealed[:39].hex()}, "shorter than nonce and tag")
    v.write()


# slots ---------------------------------------------------------------------------------------------------------------

RECOVERY_WORDS = ("abandon " * 23 + "art").strip()  # BIP-39's own test vector for 32 zero bytes


def slots():
    v = Vectors("slots")
    salt, root_nonce, label_nonce = xof("salt", 32), xof("root nonce", 24), xof("label nonce", 24)
    argon = {"memory": 65536, "passes": 3, "lanes": 4}

    def make(name, kind, kdf, secret, label="", **more):
        a = {"slot_id": xof("slot " + name, 16), "kind": kind, "kdf": kdf, "secret": secret, "salt": salt,
             "root_nonce": root_nonce, "label_nonce": label_nonce, "label": label, "created": 1790000000, **more}
        return a, e.slot(REPOSITORY, ROOT, **a)

    def show(a):
        return {key: value.hex() if isinstance(value, bytes) else value for key, value in a.items()}

    made = {}
    for name, kind, kdf, secret, label, more in (
            ("password", 1, 1, b"correct horse", "laptop \u2013 k\u00fcche", argon),
            ("empty password and empty label", 1, 1, b"", "", argon),
            ("password with one lane and negative time", 1, 1, "p\u00e4ssword".encode(), "x" * 115,
             {"memory": 65536, "passes": 1, "lanes": 1, "created": -1}),
            ("key file", 2, 0, xof("key file", 32), "key file", {}),
            ("recovery code", 3, 0, bytes(32), "paper", {}),
            ("recovery code with Argon2id", 3, 1, bytes(32), "", argon)):
        a, raw = make(name, kind, kdf, secret, label, **more)
        made[name] = a, raw
        v.good("slot", name, {**COMMON, **{"memory": 0, "passes": 0, "lanes": 0}, **show(a)}, {"slot": raw.hex()})

    def bad(name, secret, raw, why):
        v.bad("open_slot", name, {"repository_id": REPOSITORY.hex(), "secret": secret.hex(), "slot": raw.hex()}, why)

    a, raw = made["password"]
    secret = a["secret"]
    bad("another password", b"correct hors", raw, "the commitment differs: not this password")
    a, raw = made["key file"]
    secret = a["secret"]
    bad("another key file", xof("no key file", 32), raw, "the commitment differs: not this secret")
    bad("commitment flipped", secret, flip(raw, 84), "the commitment differs")
    bad("ciphertext flipped", secret, flip(raw, 140), "the root secret does not decrypt")
    bad("root nonce flipped", secret, flip(raw, 116), "the root secret does not decrypt")
    bad("label flipped", secret, flip(raw, -1), "the label does not decrypt")
    bad("created flipped", secret, flip(raw, 44), "authenticated by both seals")
    bad("salt flipped", secret, flip(raw, 52), "authenticated, though no KDF uses it")
    bad("one byte short", secret, raw[:-1], "length is not 344")
    bad("one byte long", secret, raw + b"\0", "length is not 344")
    bad("empty", secret, b"", "length is not 344")
    bad("of another repository", secret, e.slot(xof("another repository", 16), ROOT, **a), "the repository id is part of the key material")

    def consistent(name, why, kind=2, kdf=0, **more):
        a, raw = make("negative", kind, kdf, secret, **more)
        bad(name, a["secret"], raw, why + " (all else is consistent)")

    consistent("version 2", "version is not known", version=2)
    consistent("kind 4", "kind is not known", kind=4)
    consistent("kind 0", "kind is not known", kind=0)
    consistent("KDF 0 for a password", "a password needs a KDF", kind=1)
    consistent("parameters without a KDF", "must be zero if KDF is 0", memory=65536, passes=3, lanes=4)
    consistent("zero bytes not zero", "bytes 26 and 27 must be zero", zero=1)
    consistent("epoch 1", "epoch is not known", epoch=1)
    consistent("memory too small", "64 MiB at least", kind=1, kdf=1, memory=65535, passes=1, lanes=1)
    consistent("lanes 17", "16 lanes at most", kind=1, kdf=1, memory=65536, passes=1, lanes=17)
    consistent("passes 17", "16 passes at most", kind=1, kdf=1, memory=65536, passes=17, lanes=1)
    # These cannot be computed reasonably; a reader refuses them before it allocates.
    a, raw = made["password"]
    for name, at, value in (("memory too large", 32, u32((4 << 20) + 1)), ("memory near 2^32 KiB", 32, u32(0xFFFFFFFF)),
                            ("memory 0", 32, u32(0)), ("passes 0", 36, u32(0)), ("passes 2^31", 36, u32(1 << 31)),
                            ("lanes 0", 40, u32(0)), ("lanes 2^24", 40, u32(1 << 24)),
                            ("memory times passes too large", 32, u32(2 << 20) + u32(9)), ("KDF 2", 25, b"\2")):
        bad(name, a["secret"], patch(raw, at, value), "parameters outside the limits, refused before anything is allocated")
    for name, label, why in (("label padding not zero", b"\1a" + bytes(113) + b"\1", "zeros follow the label"),
                             ("label length 116", b"\x74" + b"a" * 115, "a label has 115 bytes at most"),
                             ("label not UTF-8", b"\1\xff" + bytes(114), "a label is UTF-8")):
        a, raw = made["key file"]
        sealed = e.seal(KEYS.label, REPOSITORY + raw[:188], label, label_nonce)
        bad(name, a["secret"], raw[:188] + sealed, why + " (all else is consistent)")
    secret = made["key file"][0]["secret"]
    bad("object kind 1", secret, patch(made["key file"][1], 4, b"\1"), "not a key slot")
    bad("header padding not zero", secret, patch(made["key file"][1], 6, b"\1"), "header bytes 6 and 7 are zero")

    secret = xof("key file", 32)
    line = b"repo-key-1 " + secret.hex().encode()
    v.good("key_file", "with a line end", {"file": (line + b"\n").hex()}, {"secret": secret.hex()})
    v.good("key_file", "without a line end", {"file": line.hex()}, {"secret": secret.hex()})
    v.good("key_file", "white space around it", {"file": (b"\n \t" + line + b" \r\n\n").hex()}, {"secret": secret.hex()})
    for name, data in (("63 digits", line[:-1]), ("65 digits", line + b"0"), ("another prefix", b"repo-key-2" + line[10:]),
                       ("upper case", line[:11] + line[11:].upper()), ("two spaces", line.replace(b" ", b"  ")),
                       ("prefix in upper case", line[:10].upper() + line[10:]), ("no space", line.replace(b" ", b"")),
                       ("no digit", line[:-1] + b"g"), ("two lines", line + b"\n" + line + b"\n"), ("empty", b"")):
        v.bad("key_file", "key file: " + name, {"file": data.hex()}, "not `repo-key-1 ` and 64 hexadecimal digits")
    v.good("recovery_code", "zeros", {"code": RECOVERY_WORDS}, {"secret": bytes(32).hex()})
    v.good("recovery_code", "white space and case", {"code": "\n  " + RECOVERY_WORDS.upper().replace(" ", " \t\n", 5) + "\n"},
           {"secret": bytes(32).hex()})
    v.good("recovery_code", "ones", {"code": ("zoo " * 23 + "vote")}, {"secret": "ff" * 32})
    for name, code in (("checksum", "abandon " * 23 + "abandon"), ("unknown word", "abandom " * 23 + "art"),
                       ("23 words", "abandon " * 22 + "art"), ("12 words", "abandon " * 11 + "about"), ("empty", "")):
        v.bad("recovery_code", "recovery code: " + name, {"code": code}, "not 24 words with BIP-39's checksum")
    v.write()


# session_key ---------------------------------------------------------------------------------------------------------


def session_key():
    v = Vectors("session_key")
    for name, session in (("domain 0", ONE), ("another domain", Session("session three", OTHER_DOMAIN))):
        v.good("record", name, {**COMMON, **session.inputs(), "epoch": 0}, {"record": session.record.hex()})

    def bad(name, raw, why, **common):
        v.bad("open_record", name, {**COMMON, "record": raw.hex(), **common}, why)

    # Points of small order (RFC 7748 with clamped scalars gives zero for each); the data key is sealed for that result.
    for name, point in (("0", bytes(32)), ("1", b"\1" + bytes(31)),
                        ("of order 8", bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")),
                        ("p - 1", bytes.fromhex("ec" + "ff" * 30 + "7f")), ("p, not canonical", bytes.fromhex("ed" + "ff" * 30 + "7f"))):
        bad("ephemeral public key " + name, e.record(KEYS, ONE.id, DOMAIN, ONE.dek, None, ephemeral_public=point),
            "the shared secret is zero (all else is consistent)")
    for name, at in (("session id", 0), ("domain", 16), ("ephemeral public key", 40), ("wrapped DEK", 69), ("tag", -1)):
        bad(name + " flipped", flip(ONE.record, at), "does not decrypt")
    for kind in (0, 2, 255):
        bad(f"seal kind {kind}", e.record(KEYS, ONE.id, DOMAIN, ONE.dek, ONE.ephemeral, seal_kind=kind),
            "seal kind is not known (all else is consistent)")
    bad("epoch 1", e.record(KEYS, ONE.id, DOMAIN, ONE.dek, ONE.ephemeral, epoch=1), "epoch is not known (all else is consistent)")
    bad("one byte short", ONE.record[:-1], "length is not 117")
    bad("one byte long", ONE.record + b"\0", "length is not 117")
    bad("another root", ONE.record, "sealed for another recipient", root=xof("another root", 32).hex())
    bad("another repository", ONE.record, "sealed for another recipient", repository_id=xof("another repository", 16).hex())
    v.write()


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
    """A config with one more value, under key 99, without MAC."""
    return usual[:8] + bytes([usual[8] + 1]) + usual[9:-32] + b"\x18\x63" + value


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
    v.good("read_config", "unknown features to write and prune can be read",
           {**COMMON, "config": e.config(KEYS, config_map(_7=["future"], _8=["other"])).hex()},
           {"repository_id": REPOSITORY.hex(), "suite": 1, "pack_size": 64 << 20, "write": ["future"], "prune": ["other"]})

    def bad(name, data, why):
        v.bad("read_config", name, {**COMMON, "config": data.hex()}, why)

    usual = e.config(KEYS, config_map())
    bad("MAC flipped", flip(usual, -1), "the MAC is wrong")
    bad("MAC of another root", e.config(RootKeys(xof("another root", 32), REPOSITORY), config_map()), "the MAC is wrong")
    bad("suite changed under the MAC", usual.replace(bytes([2, 1, 3]), bytes([2, 2, 3]), 1), "the MAC is wrong")
    bad("truncated", usual[:20], "too short")
    bad("empty", b"", "too short")
    bad("version 2", e.config(KEYS, config_map(), version=2), "version is not known (the MAC is right)")
    kinds = usual[:4] + b"\2" + usual[5:-32]
    bad("kind 2", kinds + keyed(KEYS.control, kinds), "kind is not config (the MAC is right)")
    for name, value in (("that is a float", b"\xf9\x3c\x00"), ("with a tag", b"\xc1\x00"), ("not in its shortest form", b"\x18\x01"),
                        ("of indefinite length", b"\x9f\xff"), ("with keys not ascending", b"\xa2\x01\x00\x00\x00"),
                        ("with a negative key", b"\xa1\x20\x00"), ("that is undefined", b"\xf7"), ("nested too deeply", b"\x81" * 40 + b"\0"),
                        ("that is not UTF-8", b"\x61\xff")):
        strange = header_and(usual, value)
        bad("unknown value " + name, strange + keyed(KEYS.control, strange), "deterministic CBOR, also of what is not known (the MAC is right)")
    strange = usual[:8] + bytes([usual[8] + 1]) + b"\x20\0" + usual[9:-32]
    bad("negative key", strange + keyed(KEYS.control, strange), "map keys are unsigned (the MAC is right)")
    bad("257 features", e.config(KEYS, config_map(_7=[""] * 257)), "256 at most (the MAC is right)")
    trailing = usual[:-32] + b"\0"
    bad("byte after the map", trailing + keyed(KEYS.control, trailing), "the map is all there is (the MAC is right)")
    long = usual[:-32].replace(bytes([2, 1, 3]), bytes([2, 0x18, 1, 3]), 1)
    bad("integer not in its shortest form", long + keyed(KEYS.control, long), "deterministic CBOR (the MAC is right)")

    def profiles(**changes):
        return {"_5": [{**FILES, **{int(key[1:]): value for key, value in changes.items()}}, DUMPS, PAGES]}

    def pages(**changes):
        return {"_5": [FILES, DUMPS, {**PAGES, **{int(key[1:]): value for key, value in changes.items()}}]}

    for name, changes in (
            ("unknown feature to read", {"_6": ["future"]}), ("suite 9", {"_2": 9}), ("suite 0", {"_2": 0}),
            ("pack size below 1 MiB", {"_3": (1 << 20) - 1}), ("pack size above 512 MiB", {"_3": (512 << 20) + 1}),
            ("segment size below 64 KiB", {"_4": 65535}), ("segment size above 8 MiB", {"_4": (8 << 20) + 1}),
            ("repository id of 15 bytes", {"_0": REPOSITORY[:15]}), ("no suite", {"_2": None}),
            ("no features to prune", {"_8": None}), ("two profiles", {"_5": [FILES, DUMPS]}), ("profiles in another order", {"_5": [FILES, PAGES, DUMPS]}), ("nanoseconds 10^9", {"_1": [0, 10**9]}),
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
    v.write()


# envelope ------------------------------------------------------------------------------------------------------------

INTENT_MAP = {0: [1790000000, 5], 1: "host", 2: 4242, 3: "boot-1234", 4: "program 1.0"}


def snapshot_map(root_content, **changes):
    map_ = {0: [1790000100, 0], 1: "host", 2: [b"/home/\xff", b"/srv"], 3: root_content, 4: ["daily", "\u00e4"],
            8: 7, 9: {i: i for i in range(11)}, 10: [[b"/srv/lock", "permission denied"]], 11: "program 1.0",
            12: [[0, b"root"], [1000, b"user"]], 13: [[0, b"root"]]}
    return {**map_, **{int(key[1:]): value for key, value in changes.items()}}


def envelope():
    v = Vectors("envelope", {**COMMON, **ONE.inputs()})
    nonce = xof("envelope nonce", 24)

    def build(kind, map_, **more):
        plain = map_ if isinstance(map_, bytes) else cbor(map_)
        return e.envelope(KEYS, kind, ONE.record, ONE.dek, nonce, plain, **more)

    def good(kind, name, map_, fields):
        data = build(kind, map_)
        expected = {"object": data.hex(), "record": ONE.record.hex(), "fields": fields}
        if kind != 6:
            expected["name"] = hash_(data).hex()
        v.good({5: "snapshot", 6: "intent", 13: "proof"}[kind], name,
               {**COMMON, **ONE.inputs(), "nonce": nonce.hex(), "cbor": cbor(map_).hex()}, expected)

    good(6, "intent", INTENT_MAP, {"started": [1790000000, 5], "host": "host", "process": 4242, "boot": "boot-1234",
                                   "program": "program 1.0"})
    inline = [0, b""]
    fields = {"time": [1790000100, 0], "host": "host", "paths": [b"/home/\xff".hex(), b"/srv".hex()],
              "root": {"inline": ""}, "tags": ["daily", "\u00e4"], "label": None, "parent": None, "previous": None,
              "number": 7, "statistics": list(range(11)), "problems": [[b"/srv/lock".hex(), "permission denied"]],
              "program": "program 1.0", "users": [[0, b"root".hex()], [1000, b"user".hex()]],
              "groups": [[0, b"root".hex()]], "replaces": None, "first": None, "user": None, "started": None, "finished": None,
              "stack": None, "copied_from": None}
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

    def bad(op, name, data, why):
        v.bad("read_" + op, name, {**COMMON, "object": data.hex()}, why)

    for name, map_ in (("result 3", {**proof, 6: 3}), ("state 4 of a service", {**proof, 9: [["x", 4]]}),
                       ("no root", {key: value for key, value in proof.items() if key != 1})):
        bad("proof", name, build(13, map_), "not allowed (the seal and the MAC are right)")

    for op, kind, map_ in (("intent", 6, INTENT_MAP), ("snapshot", 5, snapshot_map(inline)), ("proof", 13, proof)):
        data = build(kind, map_)
        bad(op, op + ": auth flipped", flip(data, -1), "the authentication is wrong")
        bad(op, op + ": auth kind flipped", flip(data, -33), "the authentication is wrong")
        inner = flip(data[:-33], -20)
        bad(op, op + ": ciphertext flipped", inner + data[-33:], "the authentication is wrong")
        bad(op, op + ": ciphertext flipped, auth right", e.auth(KEYS, inner), "does not decrypt")
        inner = flip(data[:-33], 8)
        bad(op, op + ": session id flipped, auth right", e.auth(KEYS, inner), "the record does not decrypt")
        bad(op, op + ": auth kind 2", build(kind, map_, auth_kind=2), "auth kind is not known")
        bad(op, op + ": version 2", build(kind, map_, version=2), "version is not known")
        bad(op, op + ": the other kind", build(5 if kind == 6 else 6, map_), "the kind is another")
        bad(op, op + ": kind patched, auth right", e.auth(KEYS, patch(data[:-33], 4, bytes([5 if kind == 6 else 6]))), "the kind is another")
        other = build(5 if kind == 6 else 6, map_)
        bad(op, op + ": body of the other kind", e.auth(KEYS, data[:8] + other[8:-33]), "the header is authenticated by the seal")
        bad(op, op + ": truncated", data[:150], "too short")
        bad(op, op + ": byte after the map", build(kind, cbor(map_) + b"\0"), "the map is all there is")
        bad(op, op + ": no map", build(kind, b"\x80"), "not a map")
        bad(op, op + ": no time", build(kind, {**map_, 0: None}), "a key is missing")
    for name, changes in (("number 0", {"_8": 0}), ("tags not sorted", {"_4": ["b", "a"]}), ("tag twice", {"_4": ["a", "a"]}),
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
        bad("snapshot", "snapshot: " + name, build(5, snapshot_map(inline, **changes)), "not allowed by the table")
    v.write()


# register ------------------------------------------------------------------------------------------------------------


def register():
    v = Vectors("register")
    snapshot = xof("snapshot 0", 32)
    for name, map_ in (("committed with a snapshot", {0: ONE.id, 1: 1, 2: snapshot}), ("committed without", {0: ONE.id, 1: 1}),
                       ("revoked", {0: TWO.id, 1: 2})):
        v.good("register", name, {**COMMON, "session_id": map_[0].hex(), "state": map_[1],
                                  "snapshot": map_[2].hex() if 2 in map_ else None}, {"register": e.register(KEYS, map_).hex()})

    def bad(name, data, why):
        v.bad("read_register", name, {**COMMON, "register": data.hex()}, why)

    v.good("read_register", "revoked with a snapshot, which is ignored",
           {**COMMON, "register": e.register(KEYS, {0: TWO.id, 1: 2, 2: snapshot}).hex()},
           {"session_id": TWO.id.hex(), "state": 2, "snapshot": None})
    usual = {0: ONE.id, 1: 1, 2: snapshot}
    data = e.register(KEYS, usual)
    bad("MAC flipped", flip(data, -1), "the authentication is wrong")
    bad("state changed under the MAC", patch(data, 8 + 1 + 18 + 1, b"\2"), "the authentication is wrong")
    bad("auth kind 2", e.register(KEYS, usual, auth_kind=2), "auth kind is not known (the MAC is right)")
    bad("version 2", e.register(KEYS, usual, version=2), "version is not known (the MAC is right)")
    bad("another root", e.register(RootKeys(xof("another root", 32), REPOSITORY), usual), "the authentication is wrong")
    bad("truncated", data[:40], "too short")
    for name, map_ in (("state 0", {0: ONE.id, 1: 0}), ("state 3", {0: ONE.id, 1: 3}), ("no state", {0: ONE.id}),
                       ("session id of 17 bytes", {0: ONE.id + b"\0", 1: 1}), ("snapshot of 31 bytes", {**usual, 2: snapshot[:31]}),
                       ("byte after the map", cbor(usual) + b"\0"), ("keys not ascending", b"\xa2\x01\x01\x00\x50" + ONE.id),
                       ("key repeated", b"\xa3\x00\x50" + ONE.id + b"\x01\x01\x01\x02")):
        bad(name, e.register(KEYS, map_), "not allowed (the MAC is right)")
    v.write()


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
    data = e.forgotten(KEYS, usual)
    bad("MAC flipped", flip(data, -1), "the authentication is wrong")
    bad("snapshot changed under the MAC", flip(data, 8 + 1 + 1 + 2), "the authentication is wrong")
    bad("auth kind 2", e.forgotten(KEYS, usual, auth_kind=2), "auth kind is not known (the MAC is right)")
    bad("version 2", e.forgotten(KEYS, usual, version=2), "version is not known (the MAC is right)")
    bad("kind 7", e.register(KEYS, usual), "kind is not that of a record (the MAC is right)")
    bad("another root", e.forgotten(RootKeys(xof("another root", 32), REPOSITORY), usual), "the authentication is wrong")
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
    kinds = {"plan": 8, "state": 9, "done": 10}

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
        v.good(what, f"{what}: {name}", {**COMMON, **fields(what, map_)}, {"object": e.prune(kinds[what], KEYS, map_).hex()})

    def good(what, name, map_, known):
        v.good(f"read_{what}", f"{what}: {name}", {**COMMON, "object": e.prune(kinds[what], KEYS, map_).hex()}, fields(what, known))

    good("plan", "a key and an element that are not known", {**plan, 1: time + [7], 5: [b"new"]}, plan)
    good("state", "a key that is not known", {**sweep, 3: "new"}, sweep)
    good("state", "cancelled, with rescued packs", {**cancelled, 2: packs[1]}, cancelled)
    good("done", "keys and elements that are not known",
         {**done, 2: [[id_, time + [7], b"new"] for id_ in sessions], 5: True}, done)

    def bad(what, name, data, why):
        v.bad(f"read_{what}", f"{what}: {name}", {**COMMON, "object": data.hex()}, why)

    for what, map_ in (("plan", plan), ("state", sweep), ("done", done)):
        kind = kinds[what]
        data = e.prune(kind, KEYS, map_)
        bad(what, "MAC flipped", flip(data, -1), "the authentication is wrong")
        bad(what, "number changed under the MAC", flip(data, 8 + 1 + 1), "the authentication is wrong")
        bad(what, "auth kind 2", e.prune(kind, KEYS, map_, auth_kind=2), "auth kind is not known (the MAC is right)")
        bad(what, "version 2", e.prune(kind, KEYS, map_, version=2), "version is not known (the MAC is right)")
        bad(what, "kind of a register", e.register(KEYS, map_), "kind is another (the MAC is right)")
        bad(what, "another root", e.prune(kind, RootKeys(xof("another root", 32), REPOSITORY), map_), "the authentication is wrong")
        bad(what, "truncated", data[:40], "too short")
        bad(what, "number 0", e.prune(kind, KEYS, {**map_, 0: 0}), "plans are numbered from 1 (the MAC is right)")
        bad(what, "byte after the map", e.prune(kind, KEYS, cbor(map_) + b"\0"), "not allowed (the MAC is right)")
        for key in map_:
            without = {number: value for number, value in map_.items() if number != key}
            bad(what, f"no key {key}", e.prune(kind, KEYS, without), "not allowed (the MAC is right)")
    wrong = [("plan", plan, 3, "condemned packs"), ("plan", plan, 4, "dropped snapshots"), ("state", sweep, 2, "rescued packs")]
    for what, map_, key, name in wrong:
        for how, value in (("of 33 bytes", packs[0] + b"\0"), ("that descend", packs[1] + packs[0]), ("that repeat", packs[0] * 2),
                           ("as an array", packs[:2])):
            bad(what, f"{name} {how}", e.prune(kinds[what], KEYS, {**map_, key: value}), "not allowed (the MAC is right)")
    for name, map_ in (("state 0", {**sweep, 1: 0}), ("state 3", {**sweep, 1: 3}), ("state as text", {**sweep, 1: "sweep"})):
        bad("state", name, e.prune(9, KEYS, map_), "not allowed (the MAC is right)")
    noticed = [[sessions[0], time], [sessions[1], time]]
    for name, value in (("that descend", noticed[::-1]), ("that repeat", noticed[:1] * 2), ("of 15 bytes", [[sessions[0][:15], time]]),
                        ("without a time", [[sessions[0]]]), ("with too many nanoseconds", [[sessions[0], [0, 10**9]]])):
        bad("done", f"sessions {name}", e.prune(10, KEYS, {**done, 2: value}), "not allowed (the MAC is right)")
    records = [[snapshots[0], time], [snapshots[1], time]]
    for name, value in (("that descend", records[::-1]), ("with the id of a session", [[sessions[0], time]])):
        bad("done", f"records {name}", e.prune(10, KEYS, {**done, 3: value}), "not allowed (the MAC is right)")
    v.write()


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
    v.write()


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
    three = Session("session three", OTHER_DOMAIN)
    resealed("record of another domain", "records are of the pack's domain", {0: [ONE.record, three.record], 1: rows})
    resealed("record of another domain that no row names", "records are of the pack's domain",
             {0: [ONE.record, TWO.record, three.record], 1: rows})
    resealed("no records", "key 0 is missing", {1: []})
    resealed("no rows", "key 1 is missing", {0: map_[0]})
    resealed("sealed length below 40", "nonce and tag are 40 bytes", changed(1, 2, 39))
    resealed("sealed length that is not the plaintext's and 40", "not compressed", changed(1, 2, rows[1][2] - 1))
    resealed("frame padding not zero", "zeros follow the CBOR", frame=e.frame(cbor(map_))[:-1] + b"\1")
    resealed("CBOR length beyond the frame", "longer than the frame", frame=u32(4093) + e.frame(cbor(map_))[4:])
    v.write()


# index ---------------------------------------------------------------------------------------------------------------


def index():
    v = Vectors("index", {**COMMON, "domain": DOMAIN.hex()})
    data, _, segments, rows, _, _ = small_pack()
    pack_id, size = hash_(data), len(data)
    nonce = xof("index nonce", 24)
    replaced = [xof("old index", 32)]
    usual = {0: ONE.id, 1: [ONE.record, TWO.record], 2: [[pack_id, size, rows]], 3: replaced}

    def good(name, map_, domain=DOMAIN):
        made = e.index(KEYS, domain, map_, nonce)
        v.good("index", name, {**COMMON, "domain": domain.hex(), "nonce": nonce.hex(), "cbor": cbor(map_).hex()},
               {"object": made.hex(), "name": hash_(made).hex(), "session_id": map_[0].hex(),
                "records": [record.hex() for record in map_[1]], "replaces": [i.hex() for i in map_[3]],
                "packs": [{"id": p[0].hex(), "length": p[1], "rows": rows_json(p[2], map_[1])} for p in map_[2]],
                "lost": map_.get(4, b"").hex(), "taken_out": map_.get(5, b"").hex()})
        return made

    made = good("one pack", usual)
    good("empty, another domain", {0: TWO.id, 1: [], 2: [], 3: []}, OTHER_DOMAIN)
    lost = xof("lost chunk one", 32) + xof("lost chunk two", 32)
    good("lost chunks, no packs", {0: ONE.id, 1: [], 2: [], 3: replaced, 4: lost})
    good("a pack taken out, its chunks lost", {0: ONE.id, 1: [], 2: [], 3: replaced, 4: lost, 5: pack_id})

    def edit(name, why, patches=(), cut=None):
        v.bad("open_index_edited", name, {**COMMON, "base": "one pack", "truncate": cut,
                                          "patches": [{"at": at, "bytes": new.hex()} for at, new in patches]}, why)

    edit("flipped", "does not decrypt", [(100, bytes([made[100] ^ 1]))])
    edit("truncated", "does not decrypt", cut=len(made) - 1)
    edit("empty", "too short", cut=0)
    edit("domain flipped", "another key", [(8, b"\1")])
    edit("version 2", "version is not known", [(5, b"\2")])
    edit("kind 3", "not an index", [(4, b"\3")])

    def bad(name, why, map_=None, frame=None, epoch=0):
        frame = frame or e.frame(cbor(map_))
        v.bad("open_index_resealed", name, {**COMMON, "domain": DOMAIN.hex(), "epoch": epoch, "nonce": nonce.hex(),
                                            "frame": frame.rstrip(b"\0").hex(), "frame_length": len(frame)},
              why + " (it decrypts)")

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
        {**short, 1: [ONE.record, Session("session three", OTHER_DOMAIN).record]})
    for key, what in ((0, "session"), (1, "records"), (2, "packs"), (3, "replaced")):
        bad(f"no {what}", f"key {key} is missing", {**short, 2: [], key: None})
    bad("lost chunks cut short", "ids have 32 bytes", {**short, 2: [], 4: lost[:-1]})
    bad("packs taken out cut short", "ids have 32 bytes", {**short, 2: [], 5: pack_id[:-1]})
    bad("lost chunks as an array", "they are one byte string", {**short, 2: [], 4: [lost[:32]]})
    bad("segments overlap", "segments do not overlap", {**short, 2: [[pack_id, size, [rows[0], rows[0]]]]})
    bad("keys not ascending", "deterministic CBOR", frame=e.frame(b"\xa4\x01\x80\x00\x50" + ONE.id + b"\x02\x80\x03\x80"))
    v.write()


# tree ----------------------------------------------------------------------------------------------------------------


def node(name, kind, mode=0o644, uid=1000, gid=100, mtime=(1790000000, 1), **more):
    """CBOR map of a node; `more` are keys k6, k7 …"""
    return {0: name, 1: kind, 2: mode, 3: uid, 4: gid, 5: list(mtime), **{int(key[1:]): value for key, value in more.items()}}


def content_json(content):
    if content[0] == 0:
        return {"inline": content[1].hex()}
    references = content[-1]
    chunks = [{"id": references[i : i + 32].hex(), "length": int.from_bytes(references[i + 32 : i + 35], "little")}
              for i in range(0, len(references), 35)]
    return {"chunks": chunks} if content[0] == 1 else {"depth": content[1], "chunks": chunks}


NODE_KEYS = ("name kind mode uid gid mtime ctime inode device links size content target rdev xattrs extents").split()


def node_json(map_):
    out = {}
    for key, value in map_.items():
        if key == 11:
            value = content_json(value)
        elif key == 14:
            value = [[name.hex(), data.hex()] for name, data in value]
        elif isinstance(value, bytes):
            value = value.hex()
        if key < len(NODE_KEYS):
            out[NODE_KEYS[key]] = value
    return out


def tree():
    v = Vectors("tree", {**COMMON, "domain": DOMAIN.hex()})

    def good(name, *nodes, encodable=True):
        v.good("nodes" if encodable else "read_nodes", name, {"stream": b"".join(map(cbor, nodes)).hex()},
               {"nodes": [node_json(n) for n in nodes]})

    reference = xof("chunk", 32) + u24(100000)
    acl = bytes.fromhex("0200000001000700ffffffff04000500ffffffff20000500ffffffff")
    good("empty directory")
    good("one of every kind",
         node(b"block", 4, 0o660, 0, 6, k13=0x0801), node(b"char", 5, 0o666, 0, 0, (-5, 999999999), k13=0x0103),
         node(b"directory", 2, 0o1777, k11=[0, b""]), node(b"fifo", 6), node(b"file", 1, 0o4755, k10=5, k11=[0, b"hello"]),
         node(b"link", 3, 0o777, k12=b"../target \xff"), node(b"socket", 7, 0o600))
    good("all optional keys", node(b"f", 1, k6=[1790000001, 2], k7=2**64 - 1, k8=64769, k9=2, k10=100000, k11=[1, reference],
                                   k14=[[b"system.posix_acl_access", acl], [b"user.a", b""], [b"user.b", b"\0\1"]]))
    good("extents", node(b"all hole", 1, k10=1 << 40, k11=[0, b""], k15=[]),
         node(b"sparse", 1, k10=1000000, k11=[0, b"abcdef"], k15=[[0, 2], [4096, 3], [999999, 1]]))
    good("hard links", *(node(name, 1, k7=77, k8=5, k9=2, k10=1, k11=[0, b"x"]) for name in (b"a", b"b")))
    good("content of every form", node(b"0", 1, k10=0, k11=[0, b""]), node(b"1", 1, k10=200000, k11=[1, reference * 2]),
         node(b"2", 2, k11=[2, 1, reference]), node(b"3", 2, k11=[2, 4, reference * 3]))
    good("order of names is that of bytes", *(node(name, 6) for name in (b"A", b"B", b"a", b"a\x01", b"a.", b"aa", b"b", b"\x80", b"\xc3\xa4")))
    good("names that are nearly forbidden", *(node(name, 6) for name in (b" ", b"...", b"..a", b".a", b"\\", b"\xff" * 255)))
    good("largest numbers", node(b"n", 6, 0o7777, 2**32 - 1, 2**32 - 1, (2**63 - 1, 999999999)),
         node(b"o", 6, 0, 0, 0, (-(2**63), 0)))
    good("unknown keys are ignored", {**node(b"f", 6), 40: [b"x", {1: "y"}]}, encodable=False)
    good("largest size", node(b"f", 1, k10=2**63 - 1, k11=[0, b""], k15=[]))
    v.good("read_nodes", "unknown elements of arrays are ignored",
           {"stream": cbor(node(b"f", 1, mtime=(1, 2, 3), k10=7, k11=[0, b"ab", 0], k14=[[b"user.a", b"", 1]], k15=[[5, 2, 1]])).hex()},
           {"nodes": [node_json(node(b"f", 1, mtime=(1, 2), k10=7, k11=[0, b"ab"], k14=[[b"user.a", b""]], k15=[[5, 2]]))]})
    whole = [cbor(node(name, 6)) for name in (b"a", b"b", b"c")]

    def directory(name, why, *chunks):
        inputs = {"chunks": [chunk.hex() for chunk in chunks]}
        if why:
            v.bad("directory", name, inputs, why)
        else:
            v.good("directory", name, inputs, {"names": [b"a".hex(), b"b".hex(), b"c".hex()]})

    directory("directory: one chunk", None, b"".join(whole))
    directory("directory: a chunk a node", None, *whole)
    directory("directory: two chunks", None, whole[0] + whole[1], whole[2])
    directory("directory: node goes on in the next chunk", "chunks hold whole nodes", whole[0] + whole[1][:9], whole[1][9:] + whole[2])
    directory("directory: names descend from chunk to chunk", "ascending order", whole[1], whole[0], whole[2])
    directory("directory: name repeated in the next chunk", "strictly ascending order", whole[0], *whole)

    def bad(name, why, *nodes, raw=None):
        v.bad("nodes", name, {"stream": (b"".join(map(cbor, nodes)) if raw is None else raw).hex()}, why)

    bad("names not sorted", "ascending order", node(b"b", 6), node(b"a", 6))
    bad("names sorted by length", "ascending order of bytes", node(b"b", 6), node(b"aa", 6))
    bad("name repeated", "strictly ascending order", node(b"a", 6), node(b"a", 6))
    for name, data in (("..", b".."), (".", b"."), ("/", b"/"), ("with / within", b"a/b"), ("that begins with /", b"/etc"), ("with NUL", b"a\0"),
                       ("empty", b""), ("of 4097 bytes", b"x" * 4097)):
        bad("name " + name, "the name is not allowed", node(data, 6))
    bad("name as text", "names are bytes", node("a", 6))
    one = cbor(node(b"file", 1, k10=5, k11=[0, b"hello"]))
    for cut in (1, 10, len(one) - 1):
        bad(f"truncated after {cut} bytes", "the CBOR ends too early", raw=one[:cut])
    bad("truncated second node", "the CBOR ends too early", raw=cbor(node(b"a", 6)) + one[:-1])
    bad("byte after the nodes", "not a map", raw=one + b"\0")
    bad("indefinite map", "definite lengths", raw=b"\xbf" + one[1:] + b"\xff")
    bad("integer not in its shortest form", "deterministic CBOR", raw=one.replace(b"\x01\x01\x02", b"\x01\x18\x01\x02", 1))
    bad("kind 0", "kind is not known", node(b"a", 0))
    bad("kind 8", "kind is not known", node(b"a", 8))
    bad("mode of 13 bits", "12 bits", node(b"a", 6, 0o10000))
    bad("nanoseconds 10^9", "less than 10^9", node(b"a", 6, mtime=(0, 10**9)))
    bad("no mtime", "mtime is not optional", {0: b"a", 1: 6, 2: 0, 3: 0, 4: 0})
    bad("content form 3", "form is not known", node(b"a", 1, k10=5, k11=[3, b""]))
    bad("content depth 5", "4 at most", node(b"a", 2, k11=[2, 5, reference]))
    bad("content depth 0", "1 at least", node(b"a", 2, k11=[2, 0, reference]))
    bad("references of 34 bytes", "35 bytes each", node(b"a", 2, k11=[1, reference[:-1]]))
    bad("reference of length 0", "a chunk has 1 byte at least", node(b"a", 2, k11=[1, reference[:32] + u24(0)]))
    bad("reference of 8 MiB and 1", "a chunk has 8 MiB at most", node(b"a", 2, k11=[1, reference[:32] + u24((8 << 20) + 1)]))
    bad("xattrs not sorted", "ascending names", node(b"a", 6, k14=[[b"user.b", b""], [b"user.a", b""]]))
    bad("xattr of one element", "name and value", node(b"a", 6, k14=[[b"user.b"]]))
    bad("xattr repeated", "strictly ascending names", node(b"a", 6, k14=[[b"user.b", b""], [b"user.b", b"1"]]))
    bad("xattr without a name", "names are not empty", node(b"a", 6, k14=[[b"", b""]]))
    bad("xattr name with NUL", "no NUL", node(b"a", 6, k14=[[b"user.\0", b""]]))
    bad("unknown value with a tag", "deterministic CBOR, also of what is not known", raw=cbor(node(b"a", 6, k40=0))[:-1] + b"\xc1\0")
    bad("negative key", "map keys are unsigned", raw=bytes([one[0] + 1]) + one[1:] + b"\x20\0")
    for name, value in (("file without size", node(b"a", 1, k11=[0, b""])), ("file without content", node(b"a", 1, k10=0)),
                        ("directory without content", node(b"a", 2)), ("symlink without target", node(b"a", 3)),
                        ("block device without number", node(b"a", 4)), ("character device without number", node(b"a", 5)),
                        ("fifo with content", node(b"a", 6, k11=[0, b""])), ("directory with size", node(b"a", 2, k10=0, k11=[0, b""])),
                        ("file with target", node(b"a", 1, k10=0, k11=[0, b""], k12=b"x")),
                        ("socket with device number", node(b"a", 7, k13=1)),
                        ("directory with extents", node(b"a", 2, k11=[0, b""], k15=[]))):
        bad(name, "keys 10 to 13 and 15 belong to kinds", value)
    bad("symlink target empty", "1 byte at least", node(b"a", 3, k12=b""))
    bad("symlink target of 65537 bytes", "65536 bytes at most", node(b"a", 3, k12=b"x" * 65537))
    bad("symlink target with NUL", "no NUL", node(b"a", 3, k12=b"x\0"))
    bad("size 2^63", "below 2^63", node(b"a", 1, k10=2**63, k11=[0, b""], k15=[]))
    bad("uid 2^32", "32 bits", node(b"a", 6, uid=2**32))
    bad("gid 2^32", "32 bits", node(b"a", 6, gid=2**32))
    bad("inline content shorter than the size", "stream and size differ", node(b"a", 1, k10=6, k11=[0, b"hello"]))
    bad("chunks longer than the size", "stream and size differ", node(b"a", 1, k10=99999, k11=[1, reference]))
    bad("inline content longer than the extents", "stream and extents differ", node(b"a", 1, k10=6, k11=[0, b"hello"], k15=[[0, 4]]))
    for name, extents in (("overlapping", [[0, 3], [2, 3]]), ("touching", [[0, 3], [3, 3]]), ("descending", [[10, 3], [0, 3]]), ("empty", [[0, 6], [50, 0]]),
                          ("beyond the size", [[0, 3], [98, 3]]), ("with overflow", [[0, 5], [2**64 - 1, 1]])):
        bad("extents " + name, "ascending, not touching, within the size", node(b"a", 1, k10=100, k11=[0, b"abcdef"], k15=extents))

    for name, size, extents, stream in (("no extents", 5, None, b"hello"), ("empty", 0, None, b""), ("all hole", 7, [], b""),
                                        ("holes between", 12, [[2, 3], [6, 1]], b"abcd"), ("data at the end", 4, [[3, 1]], b"x")):
        out = bytearray(size)
        position = 0
        for offset, length in extents if extents is not None else [[0, size]]:
            out[offset : offset + length] = stream[position : position + length]
            position += length
        v.good("file", "file: " + name, {"size": size, "extents": extents, "stream": stream.hex()}, {"file": bytes(out).hex()})
    for name, size, extents, stream in (("stream too short", 5, None, b"hell"), ("stream too long", 5, None, b"hello!"),
                                        ("stream shorter than the extents", 12, [[2, 3], [6, 1]], b"abc"),
                                        ("stream longer than the extents", 12, [[2, 3], [6, 1]], b"abcde"),
                                        ("stream in a file that is all hole", 7, [], b"a")):
        v.bad("file", "file: " + name, {"size": size, "extents": extents, "stream": stream.hex()}, "stream and extents differ in length")

    # Content through chunks: `chunks` holds what the content names, [kind, plaintext].
    keys_ = KEYS.domain(DOMAIN)

    def ref(kind, plain):
        return keyed(keys_.data_id if kind == 1 else keys_.tree_id, plain) + u24(len(plain))

    a, b, c = b"aaa", b"bbbb", b"c" * 10
    list1, list2 = ref(1, a) + ref(1, b), ref(1, c) + ref(1, a)
    tree_list = ref(2, a) + ref(2, b)
    top = ref(2, list1) + ref(2, list2)
    data = [[1, a], [1, b], [1, c]]
    lists = [[2, list1], [2, list2]]

    def inputs(kind, content, chunks):
        return {**COMMON, "domain": DOMAIN.hex(), "kind": kind, "content": cbor(content).hex(),
                "chunks": [[k, plain.hex()] for k, plain in chunks]}

    for name, kind, content, chunks, stream in (
            ("inline", 1, [0, a], [], a), ("no chunk", 1, [1, b""], [], b""), ("three chunks", 1, [1, list1 + ref(1, a)], data, a + b + a),
            ("depth 1", 1, [2, 1, top], data + lists, a + b + c + a),
            ("depth 2", 1, [2, 2, ref(2, top) + ref(2, ref(2, list1))], data + lists + [[2, top], [2, ref(2, list1)]], a + b + c + a + a + b),
            ("depth 1 of a directory's stream", 2, [2, 1, ref(2, tree_list)], [[2, tree_list], [2, a], [2, b]], a + b),
            ("more elements are ignored", 1, [0, a, 5], [], a)):
        v.good("content", "content: " + name, inputs(kind, content, chunks), {"stream": stream.hex()})
    for name, kind, content, chunks, why in (
            ("chunk missing", 1, [1, list1], data[:1], "in no index"),
            ("list missing", 1, [2, 1, top], data + lists[:1], "in no index"),
            ("data chunk as a list", 1, [2, 1, ref(1, list1)], data + [[1, list1]], "lists are tree chunks"),
            ("tree chunk as data", 1, [1, ref(2, a)], [[2, a]], "the stream of a file has data chunks"),
            ("length differs", 1, [1, ref(1, a)[:32] + u24(4)], data, "not the chunk's length"),
            ("list of 36 bytes", 1, [2, 1, ref(2, list1 + b"x")], data + [[2, list1 + b"x"]], "35 bytes each")):
        v.bad("content", "content: " + name, inputs(kind, content, chunks), why)
    v.write()


# chunker, tree_cut ---------------------------------------------------------------------------------------------------


def make_data(data):
    if "xof" in data:
        return xof(data["xof"], data["length"])
    if "repeat" in data:
        unit = bytes.fromhex(data["repeat"])
        return (unit * (data["length"] // len(unit) + 1))[: data["length"]]
    return b"".join(map(make_data, data["join"]))


def make_nodes(nodes):
    """[(name, size)] from a list of them, or from a rule for many."""
    if isinstance(nodes, list):
        return [(name.encode(), size) for name, size in nodes]
    return [(f"{nodes['prefix']}{i}".encode(), nodes["base"] + i * nodes["factor"] % nodes["modulus"]) for i in range(nodes["count"])]


def make_references(source, count):
    ids = xof(source["xof"], 32 * count) if "xof" in source else bytes.fromhex(source["repeat"]) * 32 * count
    return [ids[32 * i : 32 * i + 32] + u24(4096 + i % 1000) for i in range(count)]


def chunker():
    v = Vectors("chunker", {**COMMON, "domain": DOMAIN.hex()})
    small = Profile(1, 64, 256, 1024, 0x0000590003530000, 0x0000190003130000)
    sparse_masks = Profile(1, 2048, 8192, 65536, 0x0000D93003530000, 0x0000D90003530000 & ~(1 << 44))
    low_bits = Profile(1, 128, 512, 4096, 0x3FF, 0x7F)
    large = Profile(1, 65536, 131072, 524288, 0x0003590003530000, 0x0000190003530000)
    always = Profile(1, 64, 256, 1024, 0, 0)
    never = Profile(1, 64, 256, 1024, 2**63 - 1, 2**63 - 1)
    same = Profile(1, 1024, 1024, 1024, 0xF, 0xF)

    def good(name, profile, data, domain=DOMAIN):
        raw = make_data(data)
        lengths = cut_data(raw, profile, KEYS.domain(domain).gear_table)
        assert sum(lengths) == len(raw)
        v.good("cut", name, {**COMMON, "domain": domain.hex(), "profile": profile_json(profile), "data": data}, {"lengths": lengths})

    for name, profile in (("small", small), ("middle", sparse_masks), ("low bits", low_bits)):
        for length in {"small": (0, 1, 63, 64, 65, 66, 255, 256, 257, 1023, 1024, 1025, 4097, 20001),
                       "middle": (2048, 2049, 2050, 8191, 65537, 300001), "low bits": (10007, 50000)}[name]:
            good(f"{name}, {length} bytes", profile, {"xof": "chunker data", "length": length})
    good("another domain", small, {"xof": "chunker data", "length": 5000}, OTHER_DOMAIN)
    good("large", large, {"xof": "chunker data", "length": 1500001})
    for length in (64, 65, 1024, 1025, 5000, 5001):
        good(f"zeros, {length} bytes", small, {"repeat": "00", "length": length})
    good("ff", low_bits, {"repeat": "ff", "length": 20001})
    good("period of 7", small, {"repeat": "01020304050607", "length": 3001})
    good("data after zeros", small, {"join": [{"repeat": "00", "length": 3001}, {"xof": "chunker data", "length": 3000}]})
    good("masks 0: every chunk is min", always, {"xof": "chunker data", "length": 1001})
    good("masks of 63 bits: every chunk is max", never, {"xof": "chunker data", "length": 4001})
    good("min, average and max equal", same, {"xof": "chunker data", "length": 3001})

    pages = PagesProfile(2, 4096, 16384)
    for page in (512, 4096, 8192, 16384, 65536):
        for length in (0, 1, 4095, 4096, 4097, 100000):
            lengths = cut_pages(length, page, pages)
            assert sum(lengths) == length
            v.good("cut_pages", f"pages of {page}, {length} bytes", {"profile": dict(pages._asdict()), "page": page, "length": length}, {"lengths": lengths})
    v.write()


def tree_cut():
    v = Vectors("tree_cut", {**COMMON, "domain": DOMAIN.hex()})

    def good(name, nodes, domain=DOMAIN):
        counts = cut_nodes(make_nodes(nodes), KEYS.domain(domain).tree_chunker)
        v.good("cut_nodes", name, {**COMMON, "domain": domain.hex(), "nodes": nodes}, {"counts": counts})

    def names(count, base, factor=0, modulus=1):
        return {"prefix": "n", "count": count, "base": base, "factor": factor, "modulus": modulus}

    good("no node", [])
    good("one node", [["a", 100]])
    good("one node over 256 KiB", [["a", 300000]])
    good("nodes over 256 KiB each", names(3, 300000))
    good("exactly 256 KiB, then one more", names(3, 131072))
    good("256 KiB and a byte", [["a", 131072], ["b", 131073], ["c", 1]])
    good("a large one between small ones", [["a", 10], ["b", 262144], ["c", 10]])
    good("many of 400 bytes", names(900, 400))
    good("many of mixed sizes", names(500, 100, 37, 3000))
    good("the same in another domain", names(500, 100, 37, 3000), OTHER_DOMAIN)
    good("few cuts by hash: 5000 bytes each", names(300, 5000))
    # A name that ends chunks, to show the limit of 16 KiB from both sides.
    key = KEYS.domain(DOMAIN).tree_chunker
    ender = next(f"e{i}" for i in range(10**6) if int.from_bytes(keyed(key, f"e{i}".encode())[:8], "little") % 128 == 0)
    good("cut after a node at 16 KiB", [["a", 16383], [ender, 1], ["z", 1]])
    good("no cut below 16 KiB", [["a", 16382], [ender, 1], ["z", 1]])
    good("cut after the last node", [["a", 20000], [ender, 1]])
    good("cut after a first large node", [[ender, 300000], ["z", 1]])

    for name, source, count in (
            ("none", {"xof": "references"}, 0), ("1", {"xof": "references"}, 1), ("128", {"xof": "references"}, 128),
            ("129", {"xof": "references"}, 129), ("1000", {"xof": "references"}, 1000), ("20000", {"xof": "references"}, 20000),
            ("200000, two levels", {"xof": "references"}, 200000), ("no id cuts", {"repeat": "ff"}, 9000),
            ("512 and no id cuts", {"repeat": "ff"}, 512), ("every id cuts", {"repeat": "00"}, 1000), ("every id cuts, 31 left", {"repeat": "00"}, 159)):
        content, chunks, levels = content_of_references(make_references(source, count), KEYS.domain(DOMAIN).tree_id)
        raw = cbor(content)
        v.good("cut_references", f"references: {name}", {**COMMON, "domain": DOMAIN.hex(), "ids": source, "count": count},
               {"pieces": levels, "chunks_hash": hash_(b"".join(chunks)).hex(), "content_hash": hash_(raw).hex(),
                "content": raw.hex() if len(raw) <= 300 else None})
    v.write()


def nested(depth):
    return [nested(depth - 1)] if depth else 0


def cbor_vectors():
    v = Vectors("cbor", {})
    for name, value, shown in (("0", 0, 0), ("23", 23, 23), ("24", 24, 24), ("255", 255, 255), ("256", 256, 256), ("65535", 65535, 65535),
                               ("65536", 65536, 65536), ("2^32 - 1", 2**32 - 1, 2**32 - 1), ("2^32", 2**32, 2**32),
                               ("2^64 - 1", 2**64 - 1, 2**64 - 1), ("-1", -1, -1), ("-24", -24, -24), ("-25", -25, -25), ("-2^63", -(2**63), -(2**63)),
                               ("bytes", b"\1\2", {"bytes": "0102"}), ("empty bytes", b"", {"bytes": ""}), ("text", "\u00e4\U0001f600", {"text": "\u00e4\U0001f600"}),
                               ("array", [1, [2, []]], [1, [2, []]]), ("false", False, False), ("true", True, True), ("null", None, None), ("32 arrays", nested(32), nested(32)),
                               ("map", {0: 1, 23: 2, 24: 3, 256: 4}, {"map": [[0, 1], [23, 2], [24, 3], [256, 4]]}),
                               ("empty map", {}, {"map": []}), ("24 bytes", bytes(24), {"bytes": "00" * 24})):
        v.good("value", name, {"value": shown}, {"cbor": cbor(value).hex()})
    for name, data in (("nothing", ""), ("24 in two bytes less one", "1817"), ("255 in three bytes", "1900ff"), ("65535 in five bytes", "1a0000ffff"),
                       ("2^32 - 1 in nine bytes", "1b00000000ffffffff"), ("-24 in two bytes", "3817"), ("length of bytes not shortest", "580100"),
                       ("length of an array not shortest", "980100"), ("length of a map not shortest", "b8010000"), ("length of text not shortest", "780161"),
                       ("indefinite bytes", "5f4100ff"), ("indefinite text", "7f6161ff"), ("indefinite array", "9f00ff"), ("indefinite map", "bf0000ff"),
                       ("break", "ff"), ("reserved info 28", "1c"), ("reserved info 30", "5e"), ("keys descending", "a201000000"), ("key repeated", "a200000000"),
                       ("keys of different lengths descending", "a219010001181800"), ("text key", "a1616100"), ("bytes key", "a1416100"), ("invalid UTF-8", "61ff"),
                       ("overlong UTF-8", "62c080"), ("surrogate in UTF-8", "63eda080"), ("truncated integer", "19ff"), ("truncated bytes", "430102"),
                       ("truncated text", "6261"), ("truncated array", "8201"), ("truncated map", "a100"), ("array of 2^60", "9b1000000000000000"),
                       ("map of 2^63", "bb8000000000000000"), ("bytes of 2^64 - 1", "5bffffffffffffffff"), ("byte after the value", "0000"),
                       ("tag", "c100"), ("float", "f93c00"), ("undefined", "f7"), ("nested 1000 deep", "81" * 1000 + "00"),
                       ("nested 33 deep", "81" * 33 + "00"), ("maps nested 33 deep", "a100" * 33 + "00"), ("negative key", "a12000"),
                       ("simple value 0", "e0"), ("simple value 32", "f820"), ("false in two bytes", "f814"), ("double", "fb3ff0000000000000"),
                       ("null as a key", "a1f600"), ("byte string in pieces within an array", "815f4100ff")):
        v.bad("decode", name, {"cbor": data}, "not deterministic CBOR of the types that the format has")
    v.write()


# A whole repository --------------------------------------------------------------------------------------------------


def repository(target):
    def put(name, data):
        path = os.path.join(target, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "xb") as file:
            file.write(data)

    put("config", e.config(KEYS, config_map()))
    for name, kind, kdf, secret, argon in (("a", 1, 1, b"correct horse", {"memory": 65536, "passes": 1, "lanes": 4}),
                                           ("b", 2, 0, xof("key file", 32), {}), ("c", 3, 0, bytes(32), {})):
        slot_id = xof("slot " + name, 16)
        put("keys/" + slot_id.hex(), e.slot(REPOSITORY, ROOT, slot_id, kind, kdf, secret, xof("salt", 32), xof("n1" + name, 24),
                                            xof("n2" + name, 24), "sample", created=1790000000, **argon))
    keys_ = KEYS.domain(DOMAIN)

    def ref(kind, plain):
        return keyed(keys_.data_id if kind == 1 else keys_.tree_id, plain) + u24(len(plain))

    nanoseconds = (1790000000, 123456789)
    big = [xof("big", 50000), xof("big 2", 7), TEXT]
    big_list = b"".join(ref(1, chunk) for chunk in big)
    link = {"k7": 9, "k8": 1, "k9": 2, "k10": 5, "k11": [0, b"hello"]}
    inner = b"".join(map(cbor, (
        node(b"big", 1, 0o600, 0, 0, nanoseconds, k10=sum(map(len, big)), k11=[2, 1, ref(2, big_list)]),
        node(b"fifo", 6, 0o640, 0, 0, nanoseconds), node(b"hard 1", 1, 0o644, 0, 0, nanoseconds, **link),
        node(b"hard 2", 1, 0o644, 0, 0, nanoseconds, **link),
        node(b"sparse", 1, 0o444, 0, 0, nanoseconds, k10=10**6, k11=[1, ref(1, TEXT)], k15=[[4096, 1000], [900000, len(TEXT) - 1000]],
             k14=[[b"user.note", b"value"]]),
        node(b"symlink", 3, 0o777, 0, 0, nanoseconds, k12=b"../nowhere"))))
    root = b"".join(map(cbor, (node(b"data", 2, 0o750, 0, 0, nanoseconds, k11=[1, ref(2, inner)]),
                               node(b"empty", 2, 0o500, 0, 0, (-1, 5), k11=[0, b""]),
                               node(b"null", 5, 0o666, 0, 0, nanoseconds, k13=0x0103))))
    sealed, rows, offset = [], [], 8
    for kind, suite, chunks in ((1, 1, big), (2, 2, [big_list, inner])):
        plain = b"".join(chunks)
        lengths, ids = e.row_parts(keys_, kind, chunks)
        data, _, _ = e.segment(REPOSITORY, ONE.keys, kind, suite, 0, len(plain), lengths, ids, plain, nonce=xof(f"sn{kind}", 24))
        rows.append([0, offset, len(data), kind, suite, 0, len(plain), lengths, ids])
        sealed.append(data)
        offset += len(data)
    data, _ = e.pack(sealed, e.footer(KEYS, DOMAIN, {0: [ONE.record], 1: rows}, xof("fn", 24)), DOMAIN, lambda n: xof("pad", n))
    pack_id = hash_(data)
    session = f"sessions/{ONE.id.hex()}"
    put(session + "/intent", e.envelope(KEYS, 6, ONE.record, ONE.dek, xof("in", 24), cbor(INTENT_MAP)))
    put(f"packs/{pack_id.hex()[:2]}/{pack_id.hex()}", data)
    index_ = e.index(KEYS, DOMAIN, {0: ONE.id, 1: [ONE.record], 2: [[pack_id, len(data), rows]], 3: []}, xof("xn", 24))
    put("index/" + hash_(index_).hex(), index_)
    snapshot = e.envelope(KEYS, 5, ONE.record, ONE.dek, xof("pn", 24), cbor(snapshot_map([0, root])))
    put("snapshots/" + hash_(snapshot).hex(), snapshot)
    put(session + "/register", e.register(KEYS, {0: ONE.id, 1: 1, 2: hash_(snapshot)}))


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--repository":
        repository(sys.argv[2])
    else:
        for topic in (keys, slots, session_key, config, envelope, register, forgotten, prune, segment, pack, index,
                      tree, chunker, tree_cut, cbor_vectors):
            topic()
