"""Checks every object, segment and chunk of a repository."""

import repo_format as f
from repo_format import need
from storage import HEX16, HEX32, HEX64


class Verify:
    """Reads everything. What is wrong goes to the repository's problems."""

    def __init__(self, repository):
        self.repository, self.storage, self.keys = repository, repository.storage, repository.keys
        self.counts = dict.fromkeys(("packs", "segments", "chunks", "index objects", "snapshots", "nodes", "clients"), 0)
        self.footers = {}  # pack id -> (domain, length, rows)
        self.good = set()  # (pack id, row) of the segments all of whose chunks are what their ids say

    def pack(self, name):
        data = self.storage.read(name, f.OBJECT_LIMIT[f.PACK])
        need(f.hash_(data).hex() == name[-64:], "the content does not match the name")
        pack_id = bytes.fromhex(name[-64:])
        domain, rows = f.open_pack(data, self.keys)
        self.footers[pack_id] = domain, len(data), rows
        self.counts["packs"] += 1
        for row in rows:
            self.repository.attempt(f"{name}: segment at {row.offset}", self.segment, pack_id, domain, row, data)

    def segment(self, pack_id, domain, row, data):
        sealed = data[row.offset : row.offset + row.sealed_length]
        f.open_segment(row, sealed, self.repository.keys_of_row(row), self.keys.domain(domain), self.keys.repository_id)
        self.good.add((pack_id, row))
        self.counts["segments"] += 1
        self.counts["chunks"] += len(row.ids) // 32

    def signature(self, name, kind):
        """Reading takes a right MAC as enough; write-only clients have nothing but the signature."""
        data = self.storage.read(name, f.OBJECT_LIMIT[kind])
        _, auth_kind = f.without_auth(data, f.REGISTER_KINDS, name)
        signed = f.is_signed_by_full_clients(data, [keys.signature_public for keys in self.keys.epochs])
        need(auth_kind == f.BY_CLIENT or signed, "the signature is wrong")

    def index(self, index):
        self.counts["index objects"] += 1
        for pack_id, length, rows in index.packs:
            need(pack_id in self.footers, f"pack {pack_id.hex()} is missing or damaged")
            need(self.footers[pack_id] == (index.domain, length, rows), f"pack {pack_id.hex()} has another footer")

    def intent(self, session):
        record, _, _ = f.open_intent(self.storage.read(f"sessions/{session}/intent", f.OBJECT_LIMIT[f.INTENT]), self.keys)
        need(record.session_id.hex() == session, "names another session")

    def prune(self, name, number, kind, opened):
        found = opened(self.storage.read(name, f.OBJECT_LIMIT[kind]), self.keys)
        need(found.number == int(number, 16), "has another number")
        self.signature(name, kind)

    def proof(self, name):
        data = self.storage.read(f"proofs/{name}", f.OBJECT_LIMIT[f.PROOF])
        need(f.hash_(data).hex() == name, "is not what its name says")
        f.open_proof(data, self.keys)

    def snapshot(self, domain, root):
        self.counts["snapshots"] += 1
        for _, node in self.repository.walk(domain, root):
            self.counts["nodes"] += node is not None
            if node is None or node.kind != f.FILE:
                continue
            # The chunks themselves were checked with their packs; here, that they are there and fit the file.
            if node.content.form == 0:
                length = len(node.content.value)
            else:
                length = 0
                for reference in f.references_of(node.content, lambda *a: self.repository.fetch(domain, *a)):
                    places = self.repository.find(domain, f.DATA, *reference)
                    good = next((place[0] for place in places if place[:2] in self.good), None)
                    if good is None:
                        self.repository.fetch(domain, f.DATA, *reference)
                    else:
                        self.repository.note_unlisted(good)
                    length += reference[1]
            wanted = node.size if node.extents is None else sum(length for _, length in node.extents)
            need(length == wanted, f"file {node.name[:64]!r}: the content's length is not that of the node")

    def run(self):
        attempt, storage = self.repository.attempt, self.storage
        self.counts["clients"] = len(self.keys.clients)
        attempt("config", self.signature, "config", f.CONFIG)
        for name in storage.packs():
            attempt(name, self.pack, name)
        self.repository.load_indexes()
        for name, index in self.repository.indexes.items():
            attempt(f"index/{name.hex()}", self.index, index)
        for session in storage.names("sessions", HEX32):
            if storage.exists(f"sessions/{session}/intent"):
                attempt(f"sessions/{session}/intent", self.intent, session)
            if bytes.fromhex(session) in self.repository.registers:
                register = f"sessions/{session}/register"
                attempt(register, self.signature, register, f.REGISTER)
        for number in storage.names("prune", HEX16):
            for what, kind, opened in (("plan", f.PLAN, f.open_plan), ("state", f.STATE, f.open_state), ("done", f.DONE, f.open_done)):
                name = f"prune/{number}/{what}"
                if storage.exists(name):
                    attempt(name, self.prune, name, number, kind, opened)
        self.repository.load_forgotten()
        for name in storage.names("proofs", HEX64):
            attempt(f"proofs/{name}", self.proof, name)
        for name, domain, snapshot, _ in self.repository.snapshots(all_of_them=True):
            attempt(f"snapshots/{name}", self.snapshot, domain, snapshot.root)
