"""Makes the test vectors of keys, roots, key slots and session key records (FORMAT.md §3, §5)."""

import struct

import encode as e
from encode import hash_, keyed, u32, xof

from given import (CLIENT, COMMON, DOMAIN, KEYS, NEXT_COMMON, NEXT_KEYS, NEXT_ROOT, ONE, OTHER_DOMAIN, REPOSITORY, ROOT, SECOND_CLIENT, THREE,
                   TWO, Session, Vectors, flip, patch)
from repo_format import RootKeys

# keys ----------------------------------------------------------------------------------------------------------------


def shown_domain(d):
    gear = struct.unpack("<256Q", d.gear_table)
    return {"domain_secret": d.secret.hex(), "data_id_key": d.data_id.hex(), "tree_id_key": d.tree_id.hex(),
            "tree_chunker_key": d.tree_chunker.hex(), "index_key": d.index.hex(),
            "gear_first": gear[0], "gear_last": gear[255], "gear_table_hash": hash_(d.gear_table).hex()}


def keys():
    v = Vectors("keys", {})
    for name, root, repository in (("derived test root", ROOT, REPOSITORY), ("counting bytes", bytes(range(32)), bytes(range(16)))):
        inputs = {"root": root.hex(), "repository_id": repository.hex()}
        k = RootKeys(root, repository)
        v.good("root_keys", name, inputs, {
            "control_key": k.now.control.hex(), "recipient_secret": k.now.recipient_secret.hex(),
            "recipient_public": k.now.recipient_public.hex(), "signature_public": k.now.signature_public.hex(),
            "label_key": k.now.label.hex(), "former_root_key": k.now.former_root.hex()})
        for domain in (DOMAIN, OTHER_DOMAIN):
            v.good("domain_keys", f"{name}, domain {domain.hex()[:4]}", {**inputs, "domain": domain.hex()}, shown_domain(k.domain(domain)))
    v.good("domain_keys", "epoch 1: the keys are those of epoch 0", {**NEXT_COMMON, "domain": DOMAIN.hex()}, shown_domain(NEXT_KEYS.domain(DOMAIN)))
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

THIRD_KEYS = RootKeys(xof("root secret of epoch 2", 32), REPOSITORY, [ROOT, NEXT_ROOT])
RECOVERY_WORDS = ("abandon " * 23 + "art").strip()  # BIP-39's own test vector for 32 zero bytes


def held_by(client, keys=KEYS):
    """What is special about the slot of a client's credential, of the epoch of `keys`."""
    return {"slot_id": client.id, "root": keys.now.root, "epoch": len(keys.epochs) - 1, "holds": 1, "credential": client.credential(keys)}


def bad_credentials(bad, consistent, a, raw, later, later_raw):
    """Negative vectors of slots that hold a credential: `raw`, of epoch 0, was made from `a`; the other one is of epoch 1."""
    for name, at, why in (("commitment", 84, "the commitment differs"), ("first byte of the credential's seal", 140, "does not decrypt"),
                          ("tag of the credential", 315, "does not decrypt"), ("nonce of the credential", 116, "does not decrypt"),
                          ("epoch", 28, "a slot of epoch 1 has 504 bytes"), ("created", 44, "authenticated by the seal")):
        bad(f"credential: {name} flipped", a["secret"], flip(raw, at), why)
    for name, at, why in (("epoch flipped to 0", 28, "a slot of epoch 0 has 472 bytes"), ("last public key flipped", 331, "does not decrypt"),
                          ("tag of the credential flipped", 347, "does not decrypt")):
        bad("credential of epoch 1: " + name, later["secret"], flip(later_raw, at), why)
    for name, which, data, length in (("credential", a, raw, 472), ("credential of epoch 1", later, later_raw, 504)):
        for what, changed in (("one byte short", data[:-1]), ("one byte long", data + b"\0"), ("32 bytes short", data[:-32]),
                              ("32 bytes long", data + bytes(32)), ("cut to the fixed fields", data[:116]), ("no label", data[:-156])):
            bad(f"{name}: {what}", which["secret"], changed, f"such a slot has {length} bytes")
    bad("credential: another key file", xof("key file", 32), raw, "the commitment differs: not this secret")

    usual, next_usual = held_by(CLIENT), held_by(CLIENT, NEXT_KEYS)
    consistent("holds a credential in 344 bytes", "a slot with a credential has 472 bytes", holds=1, slot_id=CLIENT.id)
    consistent("holds a root secret in 472 bytes", "a slot with a root secret has 344 bytes", **{**usual, "holds": 0})
    consistent("holds 2 in 472 bytes", "what it holds is not known", **{**usual, "holds": 2})
    consistent("byte 27 not zero, credential", "byte 27 must be zero", zero=1, **usual)
    consistent("KDF 0 for a password, credential", "a password needs a KDF", kind=1, **usual)
    consistent("credential of epoch 0 in a slot of epoch 1", "it has one public key an epoch: 504 bytes", **{**usual, "epoch": 1})
    consistent("credential of epoch 1 in a slot of epoch 0", "it has one public key an epoch: 472 bytes", **{**next_usual, "epoch": 0})
    consistent("credential of epoch 1 in a slot of epoch 2", "it has one public key an epoch: 536 bytes", **{**next_usual, "epoch": 2})
    for epoch in (1 << 27, 1 << 31, (1 << 32) - 1):  # 32 times the first two is 0 in 32 bits, and 32 times the last -32
        consistent(f"credential of epoch 0 in a slot of epoch {epoch}", "it has one public key an epoch", **{**usual, "epoch": epoch})
    short = usual["credential"][:-32]
    consistent("credential without a public key of signatures", "a slot with a credential has 472 bytes", **{**usual, "credential": short})
    consistent(f"credential without a public key of signatures, in a slot of epoch {(1 << 32) - 1}", "it has one public key an epoch",
               **{**usual, "credential": short, "epoch": (1 << 32) - 1})
    for name, slot_id in (("no client's", xof("slot negative", 16)), ("another client's", SECOND_CLIENT.id)):
        consistent(f"credential under an id that is {name}", "the slot's id is the client's", **{**usual, "slot_id": slot_id})
        consistent(f"credential of epoch 1 under an id that is {name}", "the slot's id is the client's", **{**next_usual, "slot_id": slot_id})


def slots():
    v = Vectors("slots")
    salt, root_nonce, label_nonce = xof("salt", 32), xof("root nonce", 24), xof("label nonce", 24)
    argon = {"memory": 65536, "passes": 3, "lanes": 4}

    def make(name, kind, kdf, secret, label="", root=ROOT, **more):
        a = {"slot_id": xof("slot " + name, 16), "kind": kind, "kdf": kdf, "secret": secret, "salt": salt,
             "root_nonce": root_nonce, "label_nonce": label_nonce, "label": label, "created": 1790000000, "epoch": 0,
             "holds": 0, "credential": None, **more}
        return a, e.slot(REPOSITORY, root, **a)

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
            ("recovery code with Argon2id", 3, 1, bytes(32), "", argon),
            ("key file, epoch 1", 2, 0, xof("key file", 32), "later", {"root": NEXT_ROOT, "epoch": 1}),
            ("key file, largest epoch", 2, 0, xof("key file", 32), "", {"epoch": 1024}),
            ("credential, key file", 2, 0, xof("key file of a client", 32), "web1", held_by(CLIENT)),
            ("credential, key file, epoch 1", 2, 0, xof("key file of a client", 32), "web1", held_by(CLIENT, NEXT_KEYS)),
            ("credential, password, epoch 1", 1, 1, b"only add", "", {**argon, **held_by(CLIENT, NEXT_KEYS)}),
            ("credential, recovery code, epoch 2", 3, 0, bytes(32), "k\u00fcche", held_by(SECOND_CLIENT, THIRD_KEYS)),
            ("credential, recovery code", 3, 0, bytes(32), "x" * 115, held_by(CLIENT))):
        a, raw = make(name, kind, kdf, secret, label, **more)
        made[name] = a, raw
        inputs = {**COMMON, "root": more.get("root", ROOT).hex(), **{"memory": 0, "passes": 0, "lanes": 0}, **show(a)}
        v.good("slot", name, inputs, {"slot": raw.hex()})

    bad_slots(v, make, made)
    key_files_and_recovery_codes(v)
    v.write()


def bad_slots(v, make, made):
    """Negative vectors of slots; `made` has those of the positive ones, by name: (arguments, slot)."""
    def bad(name, secret, raw, why):
        v.bad("open_slot", name, {"repository_id": REPOSITORY.hex(), "secret": secret.hex(), "slot": raw.hex()}, why)

    a, raw = made["password"]
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
    bad("one byte short", secret, raw[:-1], "a slot with a root secret has 344 bytes")
    bad("one byte long", secret, raw + b"\0", "a slot with a root secret has 344 bytes")
    bad("empty", secret, b"", "too short")
    bad("of another repository", secret, e.slot(xof("another repository", 16), ROOT, **a), "the repository id is part of the key material")

    def consistent(name, why, kind=2, kdf=0, **more):
        a, raw = make("negative", kind, kdf, secret, **more)
        bad(name, a["secret"], raw, why + " (all else is consistent)")

    consistent("epoch 1025", "epochs go up to 1024", epoch=1025)
    consistent("version 2", "version is not known", version=2)
    consistent("kind 4", "kind is not known", kind=4)
    consistent("kind 0", "kind is not known", kind=0)
    consistent("KDF 0 for a password", "a password needs a KDF", kind=1)
    consistent("parameters without a KDF", "must be zero if KDF is 0", memory=65536, passes=3, lanes=4)
    consistent("byte 27 not zero", "byte 27 must be zero", zero=1)
    consistent("holds 2", "what it holds is not known", holds=2)
    consistent("memory too small", "64 MiB at least", kind=1, kdf=1, memory=65535, passes=1, lanes=1)
    consistent("lanes 17", "16 lanes at most", kind=1, kdf=1, memory=65536, passes=1, lanes=17)
    consistent("passes 17", "16 passes at most", kind=1, kdf=1, memory=65536, passes=17, lanes=1)
    bad_credentials(bad, consistent, *made["credential, key file"], *made["credential, key file, epoch 1"])
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
        sealed = e.seal(KEYS.now.label, REPOSITORY + raw[:188], label, a["label_nonce"])
        bad(name, a["secret"], raw[:188] + sealed, why + " (all else is consistent)")
    secret = made["key file"][0]["secret"]
    bad("object kind 1", secret, patch(made["key file"][1], 4, b"\1"), "not a key slot")
    bad("header padding not zero", secret, patch(made["key file"][1], 6, b"\1"), "header bytes 6 and 7 are zero")


def key_files_and_recovery_codes(v):
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


# session_key ---------------------------------------------------------------------------------------------------------


def session_key():
    v = Vectors("session_key")
    for name, session in (("domain 0", ONE), ("another domain", THREE)):
        v.good("record", name, {**COMMON, **session.inputs(), "epoch": 0}, {"record": session.record.hex()})
    later = Session("session of epoch 1", OTHER_DOMAIN, NEXT_KEYS, 1)
    v.good("record", "epoch 1", {**NEXT_COMMON, **later.inputs(), "epoch": 1}, {"record": later.record.hex()})
    v.good("record", "epoch 0, after a rotation", {**NEXT_COMMON, **ONE.inputs(), "epoch": 0}, {"record": ONE.record.hex()})

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
    for epoch in (1, 2**32 - 1):
        bad(f"epoch {epoch}, which is not known", e.record(KEYS, ONE.id, DOMAIN, ONE.dek, ONE.ephemeral, epoch=epoch, recipient=KEYS.now),
            "there is no root secret of that epoch (all else is consistent)")
    bad("epoch 2 after one rotation", e.record(NEXT_KEYS, ONE.id, DOMAIN, ONE.dek, ONE.ephemeral, epoch=2, recipient=NEXT_KEYS.now),
        "there is no root secret of that epoch (all else is consistent)", **NEXT_COMMON)
    bad("epoch 1, by the root of epoch 0", later.record, "there is no root secret of that epoch")
    for epoch, recipient in ((0, NEXT_KEYS.now), (1, KEYS.now)):
        bad(f"says epoch {epoch}, sealed for another", e.record(NEXT_KEYS, ONE.id, DOMAIN, ONE.dek, ONE.ephemeral, epoch=epoch, recipient=recipient),
            "sealed for the recipient of another epoch (all else is consistent)", **NEXT_COMMON)
    bad("epoch flipped", flip(later.record, 32), "does not decrypt", **NEXT_COMMON)
    bad("one byte short", ONE.record[:-1], "length is not 117")
    bad("one byte long", ONE.record + b"\0", "length is not 117")
    bad("another root", ONE.record, "sealed for another recipient", root=xof("another root", 32).hex())
    bad("another repository", ONE.record, "sealed for another recipient", repository_id=xof("another repository", 16).hex())
    v.write()


# roots ---------------------------------------------------------------------------------------------------------------


def roots():
    v = Vectors("roots", {"repository_id": REPOSITORY.hex()})
    nonce, third = xof("root nonce of epoch 1", 24), xof("root secret of epoch 2", 32)

    for name, root, former, epoch in (("epoch 1", NEXT_ROOT, ROOT, 1), ("epoch 2", third, NEXT_ROOT, 2),
                                      ("largest epoch", NEXT_ROOT, ROOT, 2**32 - 1)):
        v.good("root", name, {"repository_id": REPOSITORY.hex(), "root": root.hex(), "former": former.hex(), "epoch": epoch,
                              "nonce": nonce.hex()}, {"object": e.root(REPOSITORY, root, former, epoch, nonce).hex()})

    def bad(name, why, data=None, root=NEXT_ROOT, epoch=1, repository_id=REPOSITORY, **more):
        data = e.root(REPOSITORY, NEXT_ROOT, ROOT, 1, nonce, **more) if data is None else data
        v.bad("read_root", name, {"repository_id": repository_id.hex(), "root": root.hex(), "epoch": epoch, "object": data.hex()}, why)

    usual = e.root(REPOSITORY, NEXT_ROOT, ROOT, 1, nonce)
    bad("by another root", "does not decrypt", root=ROOT)
    bad("by the next root", "does not decrypt", root=third)
    bad("of another repository", "does not decrypt", repository_id=xof("another repository", 16))
    bad("under another name", "the epoch is not that of its name (all else is consistent)", epoch=2)
    bad("epoch 0", "roots are numbered from 1 (all else is consistent)", e.root(REPOSITORY, NEXT_ROOT, ROOT, 0, nonce), epoch=0)
    bad("epoch patched", "the epoch is authenticated", patch(usual, 8, u32(2)), epoch=2)
    for name, at in (("nonce", 12), ("ciphertext", 36), ("tag", -1)):
        bad(f"{name} flipped", "does not decrypt", flip(usual, at))
    bad("version 2", "version is not known (it decrypts)", version=2)
    bad("kind of a key slot", "kind is another (it decrypts)", kind=2)
    bad("header padding not zero", "header bytes 6 and 7 are zero", patch(usual, 6, b"\1"))
    bad("one byte short", "length is not 84", usual[:-1])
    bad("one byte long", "length is not 84", usual + b"\0")
    bad("empty", "length is not 84", b"")
    for size in (31, 33):
        bad(f"root secret of {size} bytes", "length is not 84 (it decrypts)", e.root(REPOSITORY, NEXT_ROOT, bytes(size), 1, nonce))
    v.write()
