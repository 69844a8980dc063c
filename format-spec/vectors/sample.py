"""A small whole repository, to try a reader on: two epochs, full clients and write-only ones."""

import os

import encode as e
from encode import cbor, hash_, u24, xof

from given import CLIENT, DOMAIN, KEYS, NEXT_KEYS, NEXT_ROOT, ONE, REPOSITORY, ROOT, SECOND_CLIENT, THREE, Session
from make_objects import INTENT_MAP, config_map, snapshot_map
from make_packs import TEXT
from make_trees import node
from repo_format import RootKeys

TIME = (1790000000, 123456789)


class Sample:
    """Writes objects into a directory that is a repository's."""

    def __init__(self, target):
        self.target = target
        self.put("config", e.config(KEYS, config_map()))

    def put(self, name, data):
        path = os.path.join(self.target, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "xb") as file:
            file.write(data)

    def slot(self, name, kind, secret, keys=KEYS, kdf=0, epoch=0, client=None, **more):
        """One that holds a root secret, or the credential of a client: then its id is the client's."""
        slot_id = client.id if client else xof("slot " + name, 16)
        if client:
            more = {"holds": 1, "credential": client.credential(keys), **more}
        argon = {"memory": 65536, "passes": 1, "lanes": 4} if kdf else {}
        self.put("keys/" + slot_id.hex(), e.slot(REPOSITORY, keys.now.root, slot_id, kind, kdf, secret, xof("salt", 32), xof("n1" + name, 24),
                                                 xof("n2" + name, 24), "sample", created=1790000000, epoch=epoch, **argon, **more))

    def client(self, client, session, end=None):
        """The record of a client, or its end: (sessions, index objects)."""
        name, kind, map_ = "record", 14, client.map()
        if end:
            name, kind, map_ = "end", 15, {0: client.id, 1: [1790000900, 0], **{2 + n: b"".join(sorted(ids)) for n, ids in enumerate(end)}}
        self.put(f"clients/{client.id.hex()}/{name}", e.envelope(KEYS, kind, session.record, session.dek, xof(name + " nonce", 24), cbor(map_)))

    def intent(self, session, **auth):
        self.put(f"sessions/{session.id.hex()}/intent", e.envelope(KEYS, 6, session.record, session.dek, xof("in", 24), cbor(INTENT_MAP), **auth))

    def pack(self, session, groups, keys=KEYS, ids=None):
        """(pack id, length, rows): a segment each of (kind, suite, chunks). `ids` are said instead of the chunks' own."""
        sealed, rows, offset = [], [], 8
        for number, (kind, suite, chunks) in enumerate(groups):
            plain = b"".join(chunks)
            lengths, own = e.row_parts(keys.domain(session.domain), kind, chunks)
            data, _, _ = e.segment(REPOSITORY, session.keys, kind, suite, 0, len(plain), lengths, ids or own, plain, nonce=xof(f"sn{number}", 24))
            rows.append([0, offset, len(data), kind, suite, 0, len(plain), lengths, ids or own])
            sealed.append(data)
            offset += len(data)
        data, _ = e.pack(sealed, e.footer(keys, session.domain, {0: [session.record], 1: rows}, xof("fn", 24)), session.domain,
                         lambda n: xof("pad", n))
        pack_id = hash_(data)
        self.put(f"packs/{pack_id.hex()[:2]}/{pack_id.hex()}", data)
        return [pack_id, len(data), rows]

    def index(self, session, packs, keys=KEYS, nonce="xn", more=None, **auth):
        data = e.index(keys, session.domain, {0: session.id, 1: [session.record], 2: packs, 3: [], **(more or {})}, xof(nonce, 24), **auth)
        self.put("index/" + hash_(data).hex(), data)
        return hash_(data)

    def snapshot(self, session, map_, keys=KEYS, **auth):
        data = e.envelope(keys, 5, session.record, session.dek, xof("pn", 24), cbor(map_), **auth)
        self.put("snapshots/" + hash_(data).hex(), data)
        return hash_(data)

    def register(self, session, snapshot=None, keys=KEYS, state=1, **auth):
        self.put(f"sessions/{session.id.hex()}/register", e.register(keys, {0: session.id, 1: state, 2: snapshot}, **auth))

    def whole(self, session, text, keys=KEYS, client=None, register=True, **changes):
        """All of a session. Gives the ids of its snapshot and its index object."""
        auth = {"auth_kind": 2, "client": client} if client else {}
        groups, root = tree(keys.domain(session.domain), text)
        self.intent(session, **auth)
        packs = [self.pack(session, groups, keys)]
        index = self.index(session, packs, keys, **auth)
        changes = {"_1": client.host, **changes} if client else changes
        snapshot = self.snapshot(session, snapshot_map(root, **changes), keys, **auth)
        if register:
            self.register(session, snapshot, keys, **auth)
        return snapshot, index


def tree(domain_keys, text):
    """([(kind, suite, chunks)], root content) of a tree with nodes of most kinds; `text` is in it."""
    def ref(kind, plain):
        return domain_keys.chunk_id(kind, plain) + u24(len(plain))

    big = [xof("big", 50000), xof("big 2", 7), TEXT, text]
    big_list = b"".join(ref(1, chunk) for chunk in big)
    link = {"k7": 9, "k8": 1, "k9": 2, "k10": 5, "k11": [0, b"hello"]}
    inner = b"".join(map(cbor, (
        node(b"big", 1, 0o600, 0, 0, TIME, k10=sum(map(len, big)), k11=[2, 1, ref(2, big_list)]),
        node(b"fifo", 6, 0o640, 0, 0, TIME), node(b"hard 1", 1, 0o644, 0, 0, TIME, **link),
        node(b"hard 2", 1, 0o644, 0, 0, TIME, **link),
        node(b"sparse", 1, 0o444, 0, 0, TIME, k10=10**6, k11=[1, ref(1, TEXT)], k15=[[4096, 1000], [900000, len(TEXT) - 1000]],
             k14=[[b"user.note", b"value"]]),
        node(b"symlink", 3, 0o777, 0, 0, TIME, k12=b"../nowhere"),
        node(b"text", 1, 0o644, 0, 0, TIME, k10=len(text), k11=[1, ref(1, text)]))))
    root = b"".join(map(cbor, (node(b"data", 2, 0o750, 0, 0, TIME, k11=[1, ref(2, inner)]),
                               node(b"empty", 2, 0o500, 0, 0, (-1, 5), k11=[0, b""]),
                               node(b"null", 5, 0o666, 0, 0, TIME, k13=0x0103))))
    return [(1, 1, big), (2, 2, [big_list, inner])], [0, root]


def repository(target):
    """Epoch 0: a snapshot of a full client, one of a write-only client, one that counts of a client that has ended and one
    that doesn't. Then a rotation, and a snapshot of epoch 1 in domain 0 and one in the client's."""
    s = Sample(target)
    s.whole(ONE, b"of full clients")
    s.client(CLIENT, Session("record of client one"))
    first, _ = s.whole(THREE, b"of a client", client=CLIENT, _0=[1790000200, 0], _8=1)
    s.client(SECOND_CLIENT, Session("record of client two"))
    counts, after = (Session(f"session of client two, {n}", SECOND_CLIENT.domain) for n in (1, 2))
    _, index = s.whole(counts, b"before the end of a client", client=SECOND_CLIENT, _0=[1790000300, 0], _8=1)
    s.whole(after, b"after the end of a client", client=SECOND_CLIENT, _0=[1790000400, 0], _8=2)
    s.client(SECOND_CLIENT, Session("end of client two"), ([counts.id], [index]))

    s.put("roots/00000001", e.root(REPOSITORY, NEXT_ROOT, ROOT, 1, xof("root nonce of epoch 1", 24)))
    later = Session("session of epoch 1", DOMAIN, NEXT_KEYS, 1)
    s.whole(later, b"of full clients, epoch 1", NEXT_KEYS, _0=[1790000500, 0], _8=8)
    later = Session("session of client one, epoch 1", CLIENT.domain, NEXT_KEYS, 1)
    s.whole(later, b"of a client, epoch 1", NEXT_KEYS, CLIENT, _0=[1790000600, 0], _8=2, _6=first, _7=first)

    # The password opens the slots of both epochs, and that of a rotation which did not come to its end.
    unfinished = xof("root secret of epoch 2", 32)
    for name, kind, secret, kdf in (("a", 1, b"correct horse", 1), ("b", 2, xof("key file", 32), 0), ("c", 3, bytes(32), 0)):
        s.slot(name, kind, secret, NEXT_KEYS, kdf, epoch=1)
    s.slot("former password", 1, b"correct horse", KEYS, 1)
    s.slot("former only", 1, b"former horse", KEYS, 1)
    s.slot("unfinished", 1, b"correct horse", RootKeys(unfinished, REPOSITORY), 1, epoch=2)
    s.slot("client", 1, b"only add", NEXT_KEYS, 1, epoch=1, client=CLIENT)
