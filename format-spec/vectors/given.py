"""What the test vectors are made from: secrets, sessions and clients, always the same; and how a file of them is written."""

import json
import os
from collections import namedtuple

import encode as e
from encode import xof

from repo_format import RootKeys, SessionKeys, ed25519_public

HERE = os.path.dirname(os.path.abspath(__file__))

ROOT, NEXT_ROOT, REPOSITORY = xof("root secret", 32), xof("root secret of epoch 1", 32), xof("repository id", 16)
KEYS, OTHER_KEYS = RootKeys(ROOT, REPOSITORY), RootKeys(xof("another root", 32), REPOSITORY)
NEXT_KEYS = RootKeys(NEXT_ROOT, REPOSITORY, [ROOT])  # after a rotation
DOMAIN, OTHER_DOMAIN = bytes(16), xof("another domain", 16)
COMMON = {"root": ROOT.hex(), "repository_id": REPOSITORY.hex()}
NEXT_COMMON = {"root": NEXT_ROOT.hex(), "former": ROOT.hex(), "repository_id": REPOSITORY.hex()}


class Client(namedtuple("Client", "id seed domain host")):
    """A write-only client."""

    def shown(self):
        return {key: getattr(self, key).hex() for key in ("id", "seed", "domain")} | {"host": self.host}

    def map(self, **changes):
        """That of `clients/CLIENT/record` (§16)."""
        map_ = {0: self.id, 1: self.domain, 2: ed25519_public(self.seed), 3: self.host, 4: [1790000000, 5], 5: "label"}
        return {**map_, **{int(key[1:]): value for key, value in changes.items()}}

    def credential(self, keys=KEYS):
        """That of a slot of the epoch of `keys` (§16)."""
        return (self.id + self.domain + keys.domain(self.domain).secret + self.seed + keys.now.recipient_public
                + signature_publics(keys))


def signature_publics(keys):
    return b"".join(epoch.signature_public for epoch in keys.epochs)


def client(name, domain, host):
    return Client(xof(f"{name} id", 16), xof(f"{name} signature seed", 32), domain, host)


# The second shares the first one's domain, the third has one of its own.
CLIENT, SECOND_CLIENT, THIRD_CLIENT = (client("client one", OTHER_DOMAIN, "web1"), client("client two", OTHER_DOMAIN, "web2"),
                                       client("client three", xof("a third domain", 16), "web1"))


class Session:
    def __init__(self, name, domain=DOMAIN, keys=KEYS, epoch=0):
        self.id, self.dek, self.ephemeral = (xof(f"{name} {part}", size) for part, size in
                                             (("id", 16), ("dek", 32), ("ephemeral secret", 32)))
        self.domain = domain
        self.record = e.record(keys, self.id, domain, self.dek, self.ephemeral, epoch)
        self.keys = SessionKeys(self.dek, self.id)

    def inputs(self):
        return {"session_id": self.id.hex(), "domain": self.domain.hex(), "dek": self.dek.hex(),
                "ephemeral_secret": self.ephemeral.hex()}


ONE, TWO, THREE = Session("session one"), Session("session two"), Session("session three", OTHER_DOMAIN)


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


GROUP_ORDER = (1 << 252) + 27742317777372353535851937790883648493  # of Ed25519


def same_signature(signature):
    """The signature with its second half larger by the group order, which RFC 8032 forbids."""
    return signature[:32] + (int.from_bytes(signature[32:], "little") + GROUP_ORDER).to_bytes(32, "little")


def bad_auth(v, op, field, kinds, make, client=CLIENT, prefix=""):
    """Negative vectors of an object's auth (§6). `make(keys, auth_kind, client)` gives the object, `kinds` are those that
    are right for it, `client` signs those of kind 2."""
    def bad(name, data, why, signer=None):
        inputs = {"client": signer.shown()} if signer else {}
        v.bad(op, f"{prefix}auth: {name}", {**COMMON, **inputs, field: data.hex()}, why)

    signed = make(KEYS, 2, client)
    for kind in range(5):
        if kind not in kinds:
            why = "auth of this kind is not right for this object" if 1 <= kind <= 3 else "auth kind is not known"
            bad(f"kind {kind}", make(KEYS, kind, client), why + " (it is right in itself)", client if kind == 2 else None)
    for kind in (1, 3):
        if kind not in kinds:
            continue
        data, name = make(KEYS, kind, None), f"kind {kind}, "
        bad(name + "MAC flipped", flip(data, -2), "the MAC is wrong")
        bad(name + "by another root", make(OTHER_KEYS, kind, None), "the MAC is wrong")
        bad(name + f"said to be {4 - kind}", data[:-1] + bytes([4 - kind]), "the kind is authenticated")
        bad(name + "without its last byte", data[:-1], "auth ends with its kind")
        bad(name + "too short", data[:8] + data[-20:], "shorter than header and auth")
        if kind == 3:
            bad(name + "signature flipped", flip(data, -97), "the MAC is of the signature, too")
    if 2 in kinds:
        name = "kind 2, "
        forged = make(KEYS, 2, client._replace(seed=SECOND_CLIENT.seed))
        bad(name + "first half of the signature flipped", flip(signed, -65), "the signature is wrong", client)
        bad(name + "second half of the signature flipped", flip(signed, -33), "the signature is wrong", client)
        bad(name + "signature larger by the group order", signed[:-65] + same_signature(signed[-65:-1]) + b"\2",
            "RFC 8032: the second half is below the group order", client)
        bad(name + "client id flipped", flip(signed, -81), "there is no such client", client)
        bad(name + "client id of another client", patch(signed, len(signed) - 81, SECOND_CLIENT.id), "the signature is not that one's",
            SECOND_CLIENT)
        bad(name + "signed by another client's key", forged, "the signature is wrong", client)
        bad(name + "unknown client", signed, "there is no such client")
        bad(name + "another client", signed, "there is no such client", SECOND_CLIENT)
        bad(name + "without its last byte", signed[:-1], "auth ends with its kind", client)
        bad(name + "too short", signed[:8] + signed[-40:], "shorter than header and auth", client)
        signature = e.sign(client.seed, signed[:-81] + b"\2")
        bad(name + "signature without the client id", signed[:-65] + signature + b"\2", "the signature is of the client id, too", client)
        signature = e.sign(client.seed, signed[:-65])
        bad(name + "signature without the kind", signed[:-65] + signature + b"\2", "the signature is of the kind, too", client)
