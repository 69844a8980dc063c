#!/usr/bin/env python3
"""Reads a repository as FORMAT.md describes it: lists and restores snapshots, and verifies everything.

It is slow and simple on purpose: a second opinion on the format, and a way to the data without the engine.
"""

import argparse
import datetime
import json
import os
import stat
import sys

import repo_format as f
from repo_format import Refused, need
from storage import HEX8, HEX32, HEX64, Storage, warn
from verify import Verify


class Repository:
    def __init__(self, path, secret_kind, secret):
        self.storage = Storage(path)
        self.problems = []
        raw = self.storage.read("config", f.OBJECT_LIMIT[f.CONFIG])
        self.config = f.parse_config(raw)
        self.keys = self.unlock(secret_kind, secret)
        f.check_config_auth(raw, self.keys)
        self.session_keys, self.plains, self.bad_places, self.where, self.unlisted = {}, {}, set(), None, None
        self.footers_only = set()  # packs of `unlisted` of which nothing was needed so far
        self.ends = {}  # client id -> `ClientEnd`
        for client in self.storage.names("clients", HEX32):
            self.attempt(f"clients/{client}/record", self.read_client, client)
            if self.storage.exists(f"clients/{client}/end"):
                self.attempt(f"clients/{client}/end", self.read_client_end, client)
        self.registers = {}  # session id -> (`Register`, signer)
        for session in self.storage.names("sessions", HEX32):
            if self.storage.exists(f"sessions/{session}/register"):
                self.attempt(f"sessions/{session}/register", self.read_register, session)

    def attempt(self, what, function, *args):
        """A damaged object must not hide the others; what was wrong with it is kept."""
        try:
            return function(*args)
        except (Refused, OSError) as error:
            self.problems.append(f"{what}: {error}")
            warn(self.problems[-1])
            return None

    def unlock(self, kind, secret):
        slots = []
        for name in self.storage.names("keys", HEX32):
            try:
                slot = f.parse_slot(self.storage.read(f"keys/{name}", f.OBJECT_LIMIT[f.SLOT]))
                need(slot.slot_id.hex() == name, "the slot's id is not its name")
                slots += [slot] * (slot.kind == kind)
            except (Refused, OSError) as error:
                warn(f"keys/{name}: {error}")
        # Of those that open, the one of the largest epoch counts, and none with a credential beside one with a root.
        credential = None
        for slot in sorted(slots, key=lambda slot: (slot.holds, -slot.epoch)):
            try:
                opened = f.open_slot(slot, self.config.repository_id, secret)
                if opened and opened.root:
                    return self.keys_from(slot.epoch, opened.root)
                credential = credential or (opened and opened.credential)
            except (Refused, OSError) as error:
                warn(f"keys/{slot.slot_id.hex()}: {error}")
        need(not credential, "this key can only add snapshots, and read none: it holds the credential of write-only client "
             + (credential.client_id.hex() if credential else ""))
        raise Refused("no key slot opens with this secret")

    def keys_from(self, epoch, root):
        """The keys of an epoch and, from `roots/`, of those before it."""
        roots = [root]
        for number in range(epoch, 0, -1):
            data = self.storage.read(f"roots/{number:08x}", f.OBJECT_LIMIT[f.ROOT])
            roots.append(f.open_root(data, number, roots[-1], self.config.repository_id))
        later = [name for name in self.storage.names("roots", HEX8) if int(name, 16) > epoch]
        if later:
            warn(f"this key is of epoch {epoch}; what was written with later ones ({', '.join(later)}) can't be read")
        return f.RootKeys(root, self.config.repository_id, roots[:0:-1])

    def read_client(self, name):
        _, client = f.open_client(self.storage.read(f"clients/{name}/record", f.OBJECT_LIMIT[f.CLIENT]), self.keys)
        need(client.client_id.hex() == name, "is of another client")
        self.keys.clients[client.client_id] = client

    def read_client_end(self, name):
        _, end = f.open_client_end(self.storage.read(f"clients/{name}/end", f.OBJECT_LIMIT[f.CLIENT_END]), self.keys)
        need(end.client_id.hex() == name, "is of another client")
        self.ends[end.client_id] = end

    def read_register(self, session):
        data = self.storage.read(f"sessions/{session}/register", f.OBJECT_LIMIT[f.REGISTER])
        register, client = f.open_register(data, self.keys)
        need(register.session_id.hex() == session, "names another session")
        end = self.ends.get(client and client.client_id)
        if end and register.session_id not in end.sessions:
            register = register._replace(state=f.REVOKED, snapshot=None)
        self.registers[register.session_id] = register, client

    def register_of(self, session_id, signer):
        """The register of a committed session, if the signer of what counts by it signed that, too; or None."""
        register, client = self.registers.get(session_id, (None, None))
        same = (client and client.client_id) == (signer and signer.client_id)
        return register if register and register.state == f.COMMITTED and same else None

    def read_named_by_hash(self, directory, name, kind):
        data = self.storage.read(f"{directory}/{name}", f.OBJECT_LIMIT[kind])
        need(f.hash_(data).hex() == name, "the content does not match the name")
        return data

    # Indexes and chunks

    def load_indexes(self):
        """All index objects that count; fills `where`: (domain, chunk id) -> [(pack, row, offset, length)], all places."""
        def load(name):
            index, client = f.open_index(self.read_named_by_hash("index", name, f.INDEX), self.keys)
            end = self.ends.get(client and client.client_id)
            if end and bytes.fromhex(name) not in end.indexes:
                return None
            return index if self.register_of(index.session_id, client) else None
        indexes = {}
        for name in self.storage.names("index", HEX64):
            index = self.attempt(f"index/{name}", load, name)
            if index:
                indexes[bytes.fromhex(name)] = index
        replaced = {name for index in indexes.values() for name in index.replaces}
        self.indexes = {name: index for name, index in indexes.items() if name not in replaced}
        self.where = {}
        for index in self.indexes.values():
            for pack_id, _, rows in index.packs:
                self.add_places(self.where, index.domain, pack_id, rows)

    def load_footers(self):
        """Fills `unlisted`, as `where`, from the footers of packs that no counting index object lists."""
        listed = {pack_id for index in self.indexes.values() for pack_id, _, _ in index.packs}
        self.unlisted = {}
        for name in self.storage.packs():
            pack_id = bytes.fromhex(name[-64:])
            if pack_id in listed:
                continue
            try:
                domain, rows = f.open_pack(self.storage.read(name, f.OBJECT_LIMIT[f.PACK]), self.keys)
                self.add_places(self.unlisted, domain, pack_id, rows)
                self.footers_only.add(pack_id)
            except (Refused, OSError) as error:
                warn(f"{name}: {error}")  # no damage: nothing that counts needs this pack, as far as index objects say

    @staticmethod
    def add_places(where, domain, pack_id, rows):
        for row in rows:
            for chunk_id, offset, length in f.row_chunks(row):
                where.setdefault((domain, chunk_id), []).append((pack_id, row, offset, length))

    def keys_of_row(self, row):
        record = row.record
        if record.raw not in self.session_keys:
            self.session_keys[record.raw] = f.SessionKeys(f.open_record(record, self.keys), record.session_id)
        return self.session_keys[record.raw]

    def find(self, domain, kind, chunk_id, length):
        """All places where the chunk may be: a place can hold something else than its index object, or its footer, says.
        Footers are read only for who goes on after the places that index objects name."""
        def fitting(where):
            return [place for place in where.get((domain, chunk_id), []) if place[1].kind == kind and place[3] == length]
        if self.where is None:
            self.load_indexes()
        yield from fitting(self.where)
        if self.unlisted is None:
            self.load_footers()
        yield from fitting(self.unlisted)

    def fetch(self, domain, kind, chunk_id, length):
        error = Refused("in no index object, with this kind and length, and in no other pack")
        for pack_id, row, offset, _ in self.find(domain, kind, chunk_id, length):
            try:
                data = self.segment(pack_id, row)[offset : offset + length]
            except (Refused, OSError) as problem:
                error = problem
                continue
            if self.keys.domain(domain).chunk_id(kind, data) == chunk_id:
                self.note_unlisted(pack_id)
                return data
            error = Refused(f"pack {pack_id.hex()}: holds something else than chunk {chunk_id.hex()}")
        raise Refused(f"chunk {chunk_id.hex()}: {error}")

    def note_unlisted(self, pack_id):
        """What was found through a footer is there, but an index object is missing."""
        if pack_id in self.footers_only:
            self.footers_only.remove(pack_id)
            self.problems.append(f"pack {pack_id.hex()}: is in no index object, and holds what a snapshot needs")
            warn(self.problems[-1])

    def segment(self, pack_id, row):
        """The plaintext of a segment; its chunks are not checked."""
        key = pack_id, row
        need(key not in self.bad_places, f"pack {pack_id.hex()}: a segment can't be read")
        if key not in self.plains:
            pack = pack_id.hex()
            self.bad_places.add(key)
            file, _ = self.storage.open(f"packs/{pack[:2]}/{pack}", f.OBJECT_LIMIT[f.PACK])
            with file:
                file.seek(row.offset)
                sealed = file.read(row.sealed_length)
            plain = f.open_segment_unchecked(row, sealed, self.keys_of_row(row), self.config.repository_id)
            while len(self.plains) >= 8:  # a few segments of at most 16 MiB
                del self.plains[next(iter(self.plains))]
            self.plains[key] = plain
            self.bad_places.remove(key)
        return self.plains[key]

    # Snapshots

    def load_forgotten(self):
        """Ids of the snapshots with a record. A record that can't be read hides nothing."""
        def load(name):
            record = f.open_forgotten(self.storage.read(f"forgotten/{name}", f.OBJECT_LIMIT[f.FORGOTTEN]), self.keys)
            need(record.snapshot.hex() == name, "names another snapshot")
            return name
        return {self.attempt(f"forgotten/{name}", load, name) for name in self.storage.names("forgotten", HEX64)}

    def snapshots(self, all_of_them=False):
        """[(id, domain, snapshot, signer)] of those that exist, oldest first; without the replaced and the forgotten ones,
        unless all are wanted."""
        def load(name):
            record, snapshot, client = f.open_snapshot(self.read_named_by_hash("snapshots", name, f.SNAPSHOT), self.keys)
            register = self.register_of(record.session_id, client)
            exists = register and register.snapshot == bytes.fromhex(name)
            return (name, record.domain, snapshot, client) if exists else None
        found = [self.attempt(f"snapshots/{name}", load, name) for name in self.storage.names("snapshots", HEX64)]
        found = [entry for entry in found if entry]
        hidden = set() if all_of_them else self.load_forgotten() | {s.replaces.hex() for _, _, s, _ in found if s.replaces}
        return sorted((e for e in found if e[0] not in hidden), key=lambda e: (e[2].time, e[0]))

    def snapshot(self, wanted):
        if wanted == "latest":
            found = self.snapshots()
            need(found, "there is no snapshot")
            return found[-1]
        # What is not listed can be read by whoever wrote its id down, as long as it is there.
        found = [entry for entry in self.snapshots(all_of_them=True) if entry[0].startswith(wanted.lower())]
        need(len(found) == 1, f"{wanted}: {'no snapshot begins so' if not found else 'more than one snapshot begins so'}")
        return found[0]

    def walk(self, domain, root):
        """(path parts, node) of every node, parents first, and (path parts, None) when a directory is done.

        Iterative, since 4096 directories below each other are allowed."""
        def fetch(kind, chunk_id, length):
            return self.fetch(domain, kind, chunk_id, length)
        def nodes(content):
            return f.nodes_of(f.stream_of(content, f.TREE, fetch))
        path, stack = [], [nodes(root)]
        while stack:
            node = next(stack[-1], None)
            if node is None:
                stack.pop()
                if stack:
                    yield path, None
                    path.pop()
                continue
            path.append(node.name)
            yield path, node
            if node.kind == f.DIRECTORY:
                need(len(stack) < f.DIRECTORY_DEPTH_LIMIT, "directories are nested too deeply")
                stack.append(nodes(node.content))
            else:
                path.pop()


# Restore -------------------------------------------------------------------------------------------------------------

TYPE_BITS = {f.BLOCK: stat.S_IFBLK, f.CHARACTER: stat.S_IFCHR, f.FIFO: stat.S_IFIFO, f.SOCKET: stat.S_IFSOCK}


class Restore:
    """Writes into an empty directory. One descriptor, that of the current directory, is open at a time, and every
    name is used relative to it: nothing that was restored before can lead out of the target."""

    def __init__(self, repository, domain, target):
        self.repository, self.domain, self.links, self.warned, self.count = repository, domain, {}, set(), 0
        os.makedirs(target, mode=0o700, exist_ok=True)
        need(not os.listdir(target), f"{target}: not empty")
        self.target = os.fsencode(os.path.abspath(target))
        self.current = os.open(target, os.O_RDONLY | os.O_DIRECTORY)

    def run(self, root):
        pending = []
        for path, node in self.repository.walk(self.domain, root):
            name, current = path[-1], self.current
            if node is None:
                # Times and modes of a directory come last: entering names changes the one, needs the other.
                self.metadata_by_descriptor(current, pending.pop())
                self.current = os.open("..", os.O_RDONLY | os.O_DIRECTORY, dir_fd=current)
                os.close(current)
                continue
            self.count += 1
            if node.kind == f.DIRECTORY:
                os.mkdir(name, 0o700, dir_fd=current)
                self.current = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=current)
                os.close(current)
                pending.append(node)
                continue
            link = (node.device, node.inode) if node.links and None not in (node.device, node.inode) else None
            if link in self.links:
                os.link(self.links[link], name, dst_dir_fd=current, follow_symlinks=False)
                continue
            if self.create(name, node) and link:
                self.links[link] = os.path.join(self.target, *path)

    def create(self, name, node):
        if node.kind == f.FILE:
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=self.current)
            try:
                os.ftruncate(descriptor, node.size)
                pieces = f.stream_of(node.content, f.DATA, lambda *a: self.repository.fetch(self.domain, *a))
                for offset, data in f.file_ranges(node, pieces):
                    while data:
                        written = os.pwrite(descriptor, data, offset)
                        offset, data = offset + written, data[written:]
                self.metadata_by_descriptor(descriptor, node)
            finally:
                os.close(descriptor)
            return True
        if node.kind == f.SYMLINK:
            need(node.target and b"\0" not in node.target, f"symlink {name!r}: the target is not possible here")
            os.symlink(node.target, name, dir_fd=self.current)
        else:
            try:
                os.mknod(name, TYPE_BITS[node.kind] | 0o600, node.rdev or 0, dir_fd=self.current)
            except PermissionError:
                self.warn_once("device nodes are left out: that needs root")
                return False
        # Only paths reach what cannot be opened; this one leads through the open directory.
        path = b"/proc/self/fd/%d/%b" % (self.current, name)
        if os.geteuid() == 0:
            os.chown(name, node.uid, node.gid, dir_fd=self.current, follow_symlinks=False)
        self.xattrs(path, node, follow_symlinks=False)
        if node.kind != f.SYMLINK:
            os.chmod(name, node.mode, dir_fd=self.current)
        os.utime(name, ns=self.times(node), dir_fd=self.current, follow_symlinks=False)
        return True

    def metadata_by_descriptor(self, descriptor, node):
        # In this order: a change of owner clears setuid, and attributes need write permission.
        if os.geteuid() == 0:
            os.fchown(descriptor, node.uid, node.gid)
        self.xattrs(descriptor, node)
        os.fchmod(descriptor, node.mode)
        os.utime(descriptor, ns=self.times(node))

    @staticmethod
    def times(node):
        nanoseconds = node.mtime[0] * 10**9 + node.mtime[1]
        return nanoseconds, nanoseconds

    def xattrs(self, where, node, **options):
        for name, value in node.xattrs or []:
            try:
                os.setxattr(where, name, value, **options)
            except (OSError, ValueError) as error:
                self.warn_once(f"attribute {name!r} cannot be set here ({getattr(error, 'strerror', error)})")

    def warn_once(self, message):
        if message not in self.warned:
            self.warned.add(message)
            warn(message)


# Commands ------------------------------------------------------------------------------------------------------------


def show_path(parts):
    return os.fsdecode(b"/" + b"/".join(parts))


def show_time(time):
    try:
        moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=time[0])
        return f"{moment:%Y-%m-%d %H:%M:%S}.{time[1]:09d}"
    except OverflowError:
        return f"{time[0]}.{time[1]:09d}s"


def printable(string):
    """Names are arbitrary bytes; they must not control the terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in string)


def snapshots_command(repository, args):
    out = []
    for name, domain, s, client in repository.snapshots():
        out.append({"id": name, "domain": domain.hex(), "client": client and client.client_id.hex(), "time": s.time, "host": s.host, "number": s.number,
                    "paths": [os.fsdecode(path) for path in s.paths], "tags": s.tags, "label": s.label,
                    "program": s.program, "statistics": s.statistics, "stack": s.stack and s.stack.name,
                    "problems": [[os.fsdecode(path), text] for path, text in s.problems],
                    **{key: value and value.hex() for key, value in (
                        ("parent", s.parent), ("previous", s.previous), ("replaces", s.replaces), ("first", s.first))},
                    "copied_from": s.copied_from and [part.hex() for part in s.copied_from]})
    if args.json:
        print(json.dumps(out, indent=1))
    else:
        for s in out:
            print(printable(f"{s['id'][:16]}  {show_time(s['time'])}  {s['host']}  {' '.join(s['paths'])}"
                            f"  {' '.join('#' + tag for tag in s['tags'])}  {s['label'] or ''}".rstrip()))


KIND_NAMES = {f.FILE: "file", f.DIRECTORY: "directory", f.SYMLINK: "symlink", f.BLOCK: "block", f.CHARACTER: "character",
              f.FIFO: "fifo", f.SOCKET: "socket"}


def ls_command(repository, args):
    _, domain, snapshot, _ = repository.snapshot(args.snapshot)
    rows = []
    for path, node in repository.walk(domain, snapshot.root):
        if node is None:
            continue
        row = {"path": show_path(path), "kind": KIND_NAMES[node.kind], "mode": f"{node.mode:04o}", "uid": node.uid,
               "gid": node.gid, "mtime_ns": node.mtime[0] * 10**9 + node.mtime[1], "size": node.size,
               "target": os.fsdecode(node.target) if node.target is not None else None, "links": node.links}
        if args.json:
            rows.append(row)
        else:
            size = "-" if node.size is None else node.size
            arrow = f" -> {row['target']}" if row["target"] is not None else ""
            print(printable(f"{row['kind']:<9} {row['mode']} {node.uid:>6} {node.gid:>6} {row['mtime_ns']:>20} {size:>12} "
                            f"{row['path']}{arrow}"))
    if args.json:
        print(json.dumps(rows, indent=1))


def restore_command(repository, args):
    name, domain, snapshot, _ = repository.snapshot(args.snapshot)
    restore = Restore(repository, domain, args.target)
    restore.run(snapshot.root)
    print(f"restored {restore.count} entries of snapshot {name[:16]}")


def verify_command(repository, args):
    verify = Verify(repository)
    verify.run()
    print(", ".join(f"{count} {what}" for what, count in verify.counts.items()))
    need(not repository.problems, f"{len(repository.problems)} problems")
    print("no problems")


def secret_of(args):
    if args.key_file:
        with open(args.key_file, "rb") as file:
            return f.KEY_FILE, f.parse_key_file(file.read(4096))
    if args.recovery_file:
        with open(args.recovery_file, encoding="utf-8") as file:
            return f.RECOVERY, f.parse_recovery_code(file.read(4096))
    if args.password_file:
        with open(args.password_file, "rb") as file:
            return f.PASSWORD, file.read(1 << 20).removesuffix(b"\n").removesuffix(b"\r")
    need("REPO_PASSWORD" in os.environ, "no secret: use --password-file, --key-file, --recovery-file or REPO_PASSWORD")
    return f.PASSWORD, os.environb[b"REPO_PASSWORD"]


def main():
    parser = argparse.ArgumentParser(description="An independent reader of the repository format, version 1.")
    parser.add_argument("repository")
    secret = parser.add_mutually_exclusive_group()
    secret.add_argument("--password-file")
    secret.add_argument("--key-file")
    secret.add_argument("--recovery-file", help="a text file with the 24 words")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("snapshots", help="list the snapshots")
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=snapshots_command)
    command = commands.add_parser("ls", help="list everything in a snapshot")
    command.add_argument("snapshot", help="the beginning of an id, or `latest`")
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=ls_command)
    command = commands.add_parser("restore", help="write a snapshot into an empty directory")
    command.add_argument("snapshot", help="the beginning of an id, or `latest`")
    command.add_argument("target")
    command.set_defaults(run=restore_command)
    command = commands.add_parser("verify", help="check every object, segment and chunk")
    command.set_defaults(run=verify_command)
    args = parser.parse_args()
    try:
        args.run(Repository(args.repository, *secret_of(args)), args)
    except (Refused, OSError, ValueError, OverflowError, MemoryError) as error:
        print(f"repo_reader: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
