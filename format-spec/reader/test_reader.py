#!/usr/bin/env python3
"""What counts in a repository of several signers: the reader on whole repositories, among them some of a write-only
client that lies. Run it as a script; the test vectors (`test_vectors.py`) are about single objects."""

import contextlib
import io
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "vectors"))

import encode as e
import repo_format as f
import repo_reader
import sample
from encode import xof
from given import CLIENT, DOMAIN, KEYS, NEXT_KEYS, NEXT_ROOT, ONE, REPOSITORY, ROOT, SECOND_CLIENT, THIRD_CLIENT, THREE, TWO, Session
from make_objects import snapshot_map

SECRET = xof("key file", 32)
NOTHING = [0, b""]
SIGNED = {"auth_kind": 2, "client": CLIENT}


def record_of(name):
    return Session("record of " + name)


class Case(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, "repository")
        self.warnings = io.StringIO()

    def begin(self, *clients):
        """A repository with one slot of epoch 0 and these clients."""
        self.sample = sample.Sample(self.path)
        self.sample.slot("b", 2, SECRET)
        for client in clients:
            self.sample.client(client, record_of(client.id.hex()))
        return self.sample

    def open(self, secret=SECRET, kind=f.KEY_FILE):
        with contextlib.redirect_stderr(self.warnings):
            return repo_reader.Repository(self.path, kind, secret)

    def verify(self):
        """Problems of the whole repository."""
        repository = self.open()
        with contextlib.redirect_stderr(self.warnings):
            repo_reader.Verify(repository).run()
        return repository.problems

    def listed(self):
        with contextlib.redirect_stderr(self.warnings):
            return [bytes.fromhex(name) for name, *_ in self.open().snapshots()]

    def text_of(self, snapshot, repository=None):
        """What `data/text` is in the snapshot."""
        with contextlib.redirect_stderr(self.warnings):
            repository = repository or self.open()
            _, domain, found, _ = repository.snapshot(snapshot.hex())
            for path, node in repository.walk(domain, found.root):
                if node and path[-1] == b"text":
                    return b"".join(f.stream_of(node.content, f.DATA, lambda *a: repository.fetch(domain, *a)))

    def assert_problem(self, text):
        problems = self.verify()
        self.assertTrue(any(text in problem for problem in problems), f"{text!r} is not among {problems}")


class Slots(Case):
    def setUp(self):
        super().setUp()
        sample.repository(self.path)

    def test_the_slot_of_the_largest_epoch_counts(self):
        for secret, kind in ((SECRET, f.KEY_FILE), (b"correct horse", f.PASSWORD), (bytes(32), f.RECOVERY)):
            repository = self.open(secret, kind)
            self.assertEqual([keys.root for keys in repository.keys.epochs], [ROOT, NEXT_ROOT])
        self.assertEqual(len(self.listed()), 5)
        self.assertEqual(self.verify(), [])

    def test_a_slot_of_a_former_epoch_opens_what_is_of_that(self):
        repository = self.open(b"former horse", f.PASSWORD)
        self.assertEqual([keys.root for keys in repository.keys.epochs], [ROOT])
        with contextlib.redirect_stderr(self.warnings):
            self.assertEqual(len(repository.snapshots()), 3)
        self.assertIn("can't be read", self.warnings.getvalue())

    def test_a_credential_of_whatever_epoch_is_known_by_its_id(self):
        with open(os.path.join(self.path, "keys", CLIENT.id.hex()), "rb") as file:
            slot = f.parse_slot(file.read())
        credential = f.open_slot(slot, REPOSITORY, b"only add").credential
        self.assertEqual([credential.client_id, credential.domain, credential.recipient_public],
                         [CLIENT.id, CLIENT.domain, NEXT_KEYS.now.recipient_public])
        self.assertEqual(credential.signature_publics, [keys.signature_public for keys in NEXT_KEYS.epochs])
        self.assertEqual(f.open_label(slot, NEXT_KEYS.now, REPOSITORY), "sample")

    def test_a_credential_opens_nothing(self):
        with self.assertRaisesRegex(f.Refused, "can only add snapshots.*" + CLIENT.id.hex()):
            self.open(b"only add", f.PASSWORD)

    def test_a_root_counts_before_a_credential_with_the_same_secret(self):
        sample.Sample.slot(self, "more", 1, b"only add", KEYS, 1)
        self.assertEqual([keys.root for keys in self.open(b"only add", f.PASSWORD).keys.epochs], [ROOT])

    def put(self, name, data):
        with open(os.path.join(self.path, name), "xb") as file:
            file.write(data)

    def test_a_slot_whose_root_is_missing_or_damaged_does_not_count(self):
        root = os.path.join(self.path, "roots/00000001")
        with open(root, "rb") as file:
            data = file.read()
        for damage in (None, data[:-1], data[:-1] + bytes([data[-1] ^ 1]), e.root(REPOSITORY, NEXT_ROOT, ROOT, 2, bytes(24))):
            os.unlink(root)
            if damage is not None:
                self.put("roots/00000001", damage)
            self.assertEqual([keys.root for keys in self.open(b"correct horse", f.PASSWORD).keys.epochs], [ROOT])
            with self.assertRaisesRegex(f.Refused, "no key slot"):
                self.open()
            if damage is None:
                self.put("roots/00000001", b"")


class Signers(Case):
    def test_snapshots_of_both_signers(self):
        s = self.begin(CLIENT)
        full, _ = s.whole(ONE, b"full")
        own, _ = s.whole(THREE, b"own", client=CLIENT, _0=[1790000200, 0])
        self.assertEqual(self.listed(), [full, own])
        self.assertEqual([self.text_of(full), self.text_of(own)], [b"full", b"own"])
        self.assertEqual(self.verify(), [])

    def test_verify_looks_at_the_full_clients_signatures(self):
        s = self.begin()
        full, _ = s.whole(ONE, b"full", register=False)
        unsigned = e.register(KEYS, {0: ONE.id, 1: 1, 2: full})[:-97] + bytes(64)
        s.put(f"sessions/{ONE.id.hex()}/register", e.with_mac(KEYS, unsigned, 3))
        self.assertEqual(self.listed(), [full])
        self.assert_problem("register: the signature is wrong")

    def test_a_client_commits_no_session_of_full_clients(self):
        s = self.begin(CLIENT)
        full, _ = s.whole(ONE, b"full", register=False)
        s.register(ONE, full, **SIGNED)
        self.assertEqual(self.listed(), [])
        repository = self.open()
        repository.load_indexes()
        self.assertEqual(repository.indexes, {})

    def test_full_clients_commit_no_session_of_a_client(self):
        s = self.begin(CLIENT)
        own, _ = s.whole(THREE, b"own", client=CLIENT, register=False)
        s.register(THREE, own)
        self.assertEqual(self.listed(), [])
        repository = self.open()
        repository.load_indexes()
        self.assertEqual(repository.indexes, {})

    def test_a_client_commits_no_session_of_another_client(self):
        s = self.begin(CLIENT, SECOND_CLIENT)
        own, _ = s.whole(THREE, b"own", client=CLIENT, register=False)
        s.register(THREE, own, auth_kind=2, client=SECOND_CLIENT)
        self.assertEqual(self.listed(), [])

    def test_revoked_by_whom_ever(self):
        s = self.begin(CLIENT)
        s.whole(ONE, b"full", register=False)
        s.register(ONE, state=2, **SIGNED)
        s.whole(THREE, b"own", client=CLIENT, register=False)
        s.register(THREE, state=2)
        self.assertEqual(self.listed(), [])
        self.assertEqual(self.verify(), [])

    def test_an_index_object_of_another_signer_in_a_committed_session(self):
        s = self.begin(CLIENT)
        groups, _ = sample.tree(KEYS.domain(THREE.domain), b"text")
        pack = s.pack(THREE, groups)
        s.index(THREE, [pack])
        s.index(THREE, [pack], nonce="another", **SIGNED)
        s.register(THREE, **SIGNED)
        repository = self.open()
        repository.load_indexes()
        self.assertEqual(len(repository.indexes), 1)

    def test_what_a_client_replaces_stays(self):
        s = self.begin(CLIENT)
        full, index = s.whole(ONE, b"full")
        s.whole(THREE, b"own", client=CLIENT, _14=full)
        more = Session("more of the client", CLIENT.domain)
        s.index(more, [], more={3: [index]}, **SIGNED)
        s.register(more, **SIGNED)
        self.assertEqual(len(self.listed()), 2)
        self.assertEqual(self.text_of(full), b"full")
        self.assertEqual(self.verify(), [])

    def test_full_clients_replace_what_is_a_clients(self):
        s = self.begin(CLIENT)
        own, index = s.whole(THREE, b"own", client=CLIENT)
        repack = Session("repack", CLIENT.domain)
        groups, _ = sample.tree(KEYS.domain(CLIENT.domain), b"own")
        s.index(repack, [s.pack(repack, groups)], more={3: [index]})
        tagged = s.snapshot(repack, snapshot_map(sample.tree(KEYS.domain(CLIENT.domain), b"own")[1], _1="web1", _14=own))
        s.register(repack, tagged)
        self.assertEqual(self.listed(), [tagged])
        self.assertEqual(self.text_of(tagged), b"own")
        repository = self.open()
        repository.load_indexes()
        self.assertNotIn(index, repository.indexes)
        self.assertEqual(self.verify(), [])

    def test_without_its_record_nothing_of_a_client_is_verified(self):
        s = self.begin(SECOND_CLIENT)
        full, _ = s.whole(ONE, b"full")
        s.whole(THREE, b"own", client=CLIENT)
        self.assertEqual(self.listed(), [full])
        self.assert_problem("of which there is no record")

    def test_a_record_under_another_name(self):
        s = self.begin()
        os.makedirs(os.path.join(self.path, "clients"))
        s.client(CLIENT, record_of("client one"))
        os.rename(os.path.join(self.path, "clients", CLIENT.id.hex()), os.path.join(self.path, "clients", THIRD_CLIENT.id.hex()))
        self.assert_problem("is of another client")

    def rename(self, old, new):
        os.rename(os.path.join(self.path, old), os.path.join(self.path, new))

    def test_an_end_under_another_name(self):
        s = self.begin(CLIENT, SECOND_CLIENT)
        own, _ = s.whole(THREE, b"own", client=CLIENT)
        s.client(CLIENT, record_of("client one"), ([], []))
        self.rename(f"clients/{CLIENT.id.hex()}/end", f"clients/{SECOND_CLIENT.id.hex()}/end")
        self.assertEqual(self.listed(), [own])
        self.assert_problem("is of another client")

    def test_a_register_of_another_session(self):
        s = self.begin()
        s.whole(ONE, b"full")
        self.rename(f"sessions/{ONE.id.hex()}", f"sessions/{TWO.id.hex()}")
        self.assertEqual(self.listed(), [])
        self.assert_problem("register: names another session")

    def test_a_slot_under_another_name(self):
        self.begin()
        self.rename(f"keys/{xof('slot b', 16).hex()}", f"keys/{xof('slot c', 16).hex()}")
        with self.assertRaisesRegex(f.Refused, "no key slot"):
            self.open()

    def test_an_end_without_a_record(self):
        self.begin().client(CLIENT, record_of("client one"), ([], []))
        self.assert_problem("record: missing")

    def test_another_host(self):
        s = self.begin(CLIENT)
        own, _ = s.whole(THREE, b"another host", client=CLIENT._replace(host="other"))
        with contextlib.redirect_stderr(self.warnings):
            self.assertEqual([(bytes.fromhex(name), found.host) for name, _, found, _ in self.open().snapshots()], [(own, CLIENT.host)])
        self.assertEqual(self.text_of(own), b"another host")
        self.assertEqual(self.verify(), [])

    def test_another_domain(self):
        s = self.begin(CLIENT)
        s.whole(TWO, b"another domain", client=CLIENT)
        self.assertEqual(self.listed(), [])
        self.assert_problem("in another domain than its own")

    def test_full_clients_in_a_domain_of_a_client(self):
        s = self.begin(CLIENT)
        full, _ = s.whole(THREE, b"full")
        self.assertEqual(self.listed(), [full])
        self.assertEqual(self.verify(), [])


class Ends(Case):
    def two(self):
        self.begin(SECOND_CLIENT, CLIENT)
        self.one, self.other = (Session(f"of client two, {n}", SECOND_CLIENT.domain) for n in (1, 2))
        made = self.sample.whole(self.one, b"first", client=SECOND_CLIENT), self.sample.whole(self.other, b"second", client=SECOND_CLIENT, _8=2)
        self.snapshots, self.indexes = zip(*made)

    def end(self, sessions, indexes):
        self.sample.client(SECOND_CLIENT, Session("end"), (sessions, indexes))

    def test_a_session_that_is_not_named_is_revoked(self):
        self.two()
        self.assertEqual(len(self.listed()), 2)
        self.end([self.one.id], self.indexes)
        self.assertEqual(self.listed(), [self.snapshots[0]])
        repository = self.open()
        repository.load_indexes()
        self.assertEqual(list(repository.indexes), [self.indexes[0]])
        self.assertEqual(self.verify(), [])

    def test_an_index_object_that_is_not_named(self):
        self.two()
        self.end([self.one.id, self.other.id], [self.indexes[0]])
        self.assertEqual(sorted(self.listed()), sorted(self.snapshots))
        self.assertEqual([self.text_of(i) for i in self.snapshots], [b"first", b"second"])
        self.assert_problem("is in no index object")

    def test_nothing_counts(self):
        self.two()
        own, _ = self.sample.whole(THREE, b"of another client", client=CLIENT)
        full, _ = self.sample.whole(ONE, b"full")
        self.end([], [])
        self.assertEqual(sorted(self.listed()), sorted([own, full]))
        self.assertEqual(self.verify(), [])

    def test_a_named_session_whose_register_is_of_full_clients(self):
        self.begin(SECOND_CLIENT)
        one = Session("of client two", SECOND_CLIENT.domain)
        _, index = self.sample.whole(one, b"first", client=SECOND_CLIENT, register=False)
        self.sample.register(one, state=2)
        self.end([one.id], [index])
        self.assertEqual(self.listed(), [])

    def test_an_end_that_cannot_be_read_ends_nothing(self):
        self.two()
        end = os.path.join(self.path, "clients", SECOND_CLIENT.id.hex(), "end")
        self.end([], [])
        self.assertEqual(self.listed(), [])
        with open(end, "rb") as file:
            data = file.read()
        for damage in (b"", data[:-1], data[:200] + bytes([data[200] ^ 1]) + data[201:], data[:5] + b"\2" + data[6:]):
            with open(end, "wb") as file:
                file.write(damage)
            self.assertEqual(sorted(self.listed()), sorted(self.snapshots))
            self.assert_problem(f"clients/{SECOND_CLIENT.id.hex()}/end")

    def test_an_end_that_a_client_signed_ends_nothing(self):
        self.two()
        map_ = {0: SECOND_CLIENT.id, 1: [0, 0], 2: b"", 3: b""}
        session = Session("forged end", SECOND_CLIENT.domain)
        data = e.envelope(KEYS, 15, session.record, session.dek, bytes(24), e.cbor(map_), auth_kind=2, client=SECOND_CLIENT)
        self.sample.put(f"clients/{SECOND_CLIENT.id.hex()}/end", data)
        self.assertEqual(len(self.listed()), 2)
        self.assert_problem("auth kind 2 is not right")


class Places(Case):
    """A chunk whose place holds something else is looked for in all its other places."""

    def lying(self):
        """A snapshot of which every chunk has three wrong places beside the good one: a segment of other chunks, a pack that
        is not there, and rows that are not those of the good pack's segments."""
        s = self.begin(CLIENT)
        own, _ = s.whole(THREE, b"own", client=CLIENT)
        pack, = (bytes.fromhex(name[-64:]) for name in self.open().storage.packs())
        groups, _ = sample.tree(KEYS.domain(CLIENT.domain), b"own")
        lie, rows, offset = Session("lie", CLIENT.domain), [], 8
        for number, (kind, suite, chunks) in enumerate(groups):
            lengths, ids = e.row_parts(KEYS.domain(CLIENT.domain), kind, chunks)
            others = [bytes(len(chunk)) for chunk in chunks]
            s.index(lie, [s.pack(lie, [(kind, suite, others)], ids=ids)], nonce=f"lie {number}", **SIGNED)
            length = sum(map(len, chunks))
            rows.append([0, offset, length + 40, kind, suite, 0, length, lengths, ids])
            offset += length + 40
        s.index(lie, [[xof("no such pack", 32), offset + 5000, rows]], nonce="no pack", **SIGNED)
        s.index(lie, [[pack, offset + 5000, rows]], nonce="other rows", **SIGNED)
        s.register(lie, **SIGNED)
        return own

    def test_all_places_are_tried_in_whatever_order(self):
        own = self.lying()
        for turn in range(4):
            with contextlib.redirect_stderr(self.warnings):
                repository = self.open()
                repository.load_indexes()
                for chunk, places in repository.where.items():
                    self.assertEqual(len(places), 4)
                    repository.where[chunk] = places[turn:] + places[:turn]
                self.assertEqual(self.text_of(own, repository), b"own")
        problems = self.verify()
        self.assertTrue(problems)
        self.assertFalse([problem for problem in problems if problem.startswith("snapshots/")], problems)

    def test_what_is_in_no_good_place_is_a_problem(self):
        s = self.begin(CLIENT)
        groups, root = sample.tree(KEYS.domain(CLIENT.domain), b"own")
        _, ids = e.row_parts(KEYS.domain(CLIENT.domain), 1, groups[0][2])
        wrong = s.pack(THREE, [(1, 1, [bytes(len(chunk)) for chunk in groups[0][2]])], ids=ids)
        s.index(THREE, [wrong], **SIGNED)
        s.index(THREE, [s.pack(THREE, groups[1:])], nonce="trees", **SIGNED)
        own = s.snapshot(THREE, snapshot_map(root, _1="web1"), **SIGNED)
        s.register(THREE, own, **SIGNED)
        with self.assertRaisesRegex(f.Refused, "holds something else"):
            self.text_of(own)
        self.assert_problem(f"snapshots/{own.hex()}")

    def test_a_good_chunk_beside_a_wrong_one_is_read(self):
        s = self.begin(CLIENT)
        groups, root = sample.tree(KEYS.domain(CLIENT.domain), b"own")
        _, ids = e.row_parts(KEYS.domain(CLIENT.domain), 1, groups[0][2])
        wrong = [bytes(len(chunk)) for chunk in groups[0][2][:-1]] + groups[0][2][-1:]
        s.index(THREE, [s.pack(THREE, [(1, 1, wrong)], ids=ids)], **SIGNED)
        s.index(THREE, [s.pack(THREE, groups[1:])], nonce="trees", **SIGNED)
        own = s.snapshot(THREE, snapshot_map(root, _1="web1"), **SIGNED)
        s.register(THREE, own, **SIGNED)
        self.assertEqual(self.text_of(own), b"own")

    def without_index(self, *clients):
        """Two snapshots of full clients, the second one's index object being gone; their ids, and that of the other index object."""
        s = self.begin(*clients)
        (first, kept), (second, index) = s.whole(ONE, b"first"), s.whole(TWO, b"second", _0=[1790000200, 0])
        os.unlink(os.path.join(self.path, "index", index.hex()))
        return first, second, kept

    def test_footers_are_read_for_what_is_in_no_index_object(self):
        first, second, _ = self.without_index()
        repository = self.open()
        self.assertEqual(self.text_of(first, repository), b"first")
        self.assertIsNone(repository.unlisted)
        self.assertEqual(self.text_of(second, repository), b"second")
        self.assertEqual(len(repository.problems), 1)
        self.assertIn("is in no index object", repository.problems[0])
        self.assert_problem("is in no index object")
        self.assertFalse([problem for problem in self.verify() if problem.startswith("snapshots/")])

    def test_footers_of_listed_packs_are_not_read(self):
        s = self.begin(CLIENT)
        groups, root = sample.tree(KEYS.domain(ONE.domain), b"text")
        pack_id, length, rows = s.pack(ONE, groups)
        s.index(ONE, [[pack_id, length, rows[:1]]])
        s.register(ONE, s.snapshot(ONE, snapshot_map(root)))
        self.assert_problem("in no index object")
        repository = self.open()
        repository.load_indexes()
        repository.load_footers()
        self.assertEqual(repository.unlisted, {})

    def test_a_footer_that_lies_proves_nothing(self):
        _, second, _ = self.without_index(CLIENT)
        groups, _ = sample.tree(KEYS.domain(TWO.domain), b"second")
        for number, (kind, suite, chunks) in enumerate(groups):
            _, ids = e.row_parts(KEYS.domain(TWO.domain), kind, chunks)
            lie = Session(f"lie {number}")
            self.sample.pack(lie, [(kind, suite, [bytes(len(chunk)) for chunk in chunks])], ids=ids)
        self.sample.put("packs/00/" + "00" * 32, b"no pack")
        repository = self.open()
        with contextlib.redirect_stderr(self.warnings):
            repository.load_indexes()
            repository.load_footers()
            for places in repository.unlisted.values():
                places.sort()
        for turn in range(2):
            for places in repository.unlisted.values():
                places.reverse()
            self.assertEqual(self.text_of(second, repository), b"second")
        self.assertIn("not an object of a repository", self.warnings.getvalue())

    def test_a_place_in_another_domain_is_none(self):
        s = self.begin(CLIENT)
        groups, root = sample.tree(KEYS.domain(CLIENT.domain), b"own")
        full, _ = s.whole(ONE, b"own")
        own = s.snapshot(THREE, snapshot_map(root, _1="web1"), **SIGNED)
        s.register(THREE, own, **SIGNED)
        self.assertEqual(self.text_of(full), b"own")
        with self.assertRaisesRegex(f.Refused, "in no index"):
            self.text_of(own)


class Rotation(Case):
    def test_old_and_new_objects_side_by_side(self):
        s = sample.Sample(self.path)
        s.slot("b", 2, SECRET, NEXT_KEYS, epoch=1)
        s.put("roots/00000001", e.root(REPOSITORY, NEXT_ROOT, ROOT, 1, bytes(24)))
        s.client(CLIENT, record_of("client one"))
        old, index = s.whole(ONE, b"old")
        new_session = Session("new", DOMAIN, NEXT_KEYS, 1)
        new, _ = s.whole(new_session, b"new", NEXT_KEYS, _14=old)
        late = Session("old recipient, signed anew", DOMAIN, KEYS, 0)
        mixed, _ = s.whole(late, b"mixed", NEXT_KEYS, _0=[1790000700, 0])
        own, _ = s.whole(THREE, b"own", client=CLIENT, _0=[1790000800, 0])
        self.assertEqual(self.listed(), [new, mixed, own])
        self.assertEqual([self.text_of(i) for i in (old, new, mixed, own)], [b"old", b"new", b"mixed", b"own"])
        self.assertEqual(self.verify(), [])

    def test_three_epochs(self):
        third = f.RootKeys(xof("root secret of epoch 2", 32), REPOSITORY, [ROOT, NEXT_ROOT])
        s = sample.Sample(self.path)
        s.slot("b", 2, SECRET, third, epoch=2)
        s.put("roots/00000001", e.root(REPOSITORY, NEXT_ROOT, ROOT, 1, bytes(24)))
        s.put("roots/00000002", e.root(REPOSITORY, third.now.root, NEXT_ROOT, 2, bytes(24)))
        made = [s.whole(Session(f"of epoch {n}", DOMAIN, keys, n), b"%d" % n, keys, _0=[1790000000 + n, 0])[0]
                for n, keys in enumerate((KEYS, NEXT_KEYS, third))]
        self.assertEqual(self.listed(), made)
        self.assertEqual([self.text_of(i) for i in made], [b"0", b"1", b"2"])
        self.assertEqual(self.verify(), [])


if __name__ == "__main__":
    unittest.main()
