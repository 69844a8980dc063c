#!/usr/bin/env python3
"""Reads a repository as FORMAT.md describes it: lists and restores snapshots, and verifies everything.

It is slow and simple on purpose: a second opinion on the format, and a way to the data without the engine.
"""

import argparse
import datetime
import json
import os
import re
import stat
import sys

import repo_format as f
from repo_format import Refused, need

HEX16, HEX32, HEX64 = re.compile("[0-9a-f]{16}"), re.compile("[0-9a-f]{32}"), re.compile("[0-9a-f]{64}")


def warn(message):
    print(f"repo_reader: warning: {message}", file=sys.stderr)


class Storage:
    """The objects of a repository in a local directory."""

    def __init__(self, root):
        self.root = root

    def open(self, name, limit):
        """(file, size) of an object that is not longer than `limit`."""
        try:
            file = open(os.path.join(self.root, name), "rb", opener=lambda p, fl: os.open(p, fl | os.O_NONBLOCK))
        except FileNotFoundError:
            raise Refused(f"{name}: missing") from None
        info = os.fstat(file.fileno())
        need(stat.S_ISREG(info.st_mode), f"{name}: not a file")
        need(info.st_size <= limit, f"{name}: longer than {limit} bytes")
        return file, info.st_size

    def read(self, name, limit):
        file, size = self.open(name, limit)
        with file:
            data = file.read(size)
        need(len(data) == size, f"{name}: changed while it was read")
        return data

    def names(self, directory, pattern):
        """Other names are not part of the repository (§2)."""
        try:
            return sorted(name for name in os.listdir(os.path.join(self.root, directory)) if pattern.fullmatch(name))
        except FileNotFoundError:
            return []

    def packs(self):
        return [f"packs/{xx}/{name}" for xx in self.names("packs", re.compile("[0-9a-f]{2}"))
                for name in self.names(f"packs/{xx}", HEX64) if name.startswith(xx)]


class Repository:
    def __init__(self, path, secret_kind, secret):
        self.storage = Storage(path)
        self.problems = []
        raw = self.storage.read("config", f.OBJECT_LIMIT[f.CONFIG])
        self.config = f.parse_config(raw)
        self.keys = f.RootKeys(self.unlock(secret_kind, secret), self.config.repository_id)
        f.check_config_mac(raw, self.keys)
        self.session_keys, self.plains, self.where = {}, {}, None
        self.registers = {}
        for session in self.storage.names("sessions", HEX32):
            if os.path.lexists(os.path.join(path, "sessions", session, "register")):
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
        for name in self.storage.names("keys", HEX32):
            try:
                slot = f.parse_slot(self.storage.read(f"keys/{name}", f.OBJECT_LIMIT[f.SLOT]))
                need(slot.slot_id.hex() == name, "the slot's id is not its name")
                opened = f.open_slot(slot, self.config.repository_id, secret) if slot.kind == kind else None
            except Refused as error:
                warn(f"keys/{name}: {error}")
                continue
            if opened:
                return opened[0]
        raise Refused("no key slot opens with this secret")

    def read_register(self, session):
        register = f.open_register(self.storage.read(f"sessions/{session}/register", f.OBJECT_LIMIT[f.REGISTER]), self.keys)
        need(register.session_id.hex() == session, "names another session")
        self.registers[register.session_id] = register

    def committed(self, session_id):
        return session_id in self.registers and self.registers[session_id].state == f.COMMITTED

    def read_named_by_hash(self, directory, name, kind):
        data = self.storage.read(f"{directory}/{name}", f.OBJECT_LIMIT[kind])
        need(f.hash_(data).hex() == name, "the content does not match the name")
        return data

    # Indexes and chunks

    def load_indexes(self):
        """All index objects that count; fills `where`: (domain, chunk id) -> (pack, row, offset, length)."""
        def load(name):
            index = f.open_index(self.read_named_by_hash("index", name, f.INDEX), self.keys)
            return index if self.committed(index.session_id) else None
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
                for row in rows:
                    for chunk_id, offset, length in f.row_chunks(row):
                        self.where.setdefault((index.domain, chunk_id), (pack_id, row, offset, length))

    def open_row(self, row, sealed):
        record = row.record
        if record.raw not in self.session_keys:
            self.session_keys[record.raw] = f.SessionKeys(f.open_record(record, self.keys), record.session_id)
        return f.open_segment(row, sealed, self.session_keys[record.raw], self.keys.domain(record.domain),
                              self.config.repository_id)

    def find(self, domain, kind, chunk_id, length):
        if self.where is None:
            self.load_indexes()
        need((domain, chunk_id) in self.where, f"chunk {chunk_id.hex()}: in no index")
        found = self.where[domain, chunk_id]
        need(found[1].kind == kind and found[3] == length, f"chunk {chunk_id.hex()}: kind or length differ from the index")
        return found

    def fetch(self, domain, kind, chunk_id, length):
        pack_id, row, offset, _ = self.find(domain, kind, chunk_id, length)
        key = pack_id, row.offset
        if key not in self.plains:
            pack = pack_id.hex()
            file, _ = self.storage.open(f"packs/{pack[:2]}/{pack}", f.OBJECT_LIMIT[f.PACK])
            with file:
                file.seek(row.offset)
                sealed = file.read(row.sealed_length)
            while len(self.plains) >= 8:  # a few segments of at most 16 MiB
                del self.plains[next(iter(self.plains))]
            self.plains[key] = self.open_row(row, sealed)
        return self.plains[key][offset : offset + length]

    # Snapshots

    def load_forgotten(self):
        """Ids of the snapshots with a record. A record that can't be read hides nothing."""
        def load(name):
            record = f.open_forgotten(self.storage.read(f"forgotten/{name}", f.OBJECT_LIMIT[f.FORGOTTEN]), self.keys)
            need(record.snapshot.hex() == name, "names another snapshot")
            return name
        return {self.attempt(f"forgotten/{name}", load, name) for name in self.storage.names("forgotten", HEX64)}

    def snapshots(self, all_of_them=False):
        """[(id, domain, snapshot)] of those that exist, oldest first; without the replaced and the forgotten ones, unless
        all are wanted."""
        def load(name):
            record, snapshot = f.open_snapshot(self.read_named_by_hash("snapshots", name, f.SNAPSHOT), self.keys)
            exists = self.committed(record.session_id) and self.registers[record.session_id].snapshot == bytes.fromhex(name)
            return (name, record.domain, snapshot) if exists else None
        found = [self.attempt(f"snapshots/{name}", load, name) for name in self.storage.names("snapshots", HEX64)]
        found = [entry for entry in found if entry]
        hidden = set() if all_of_them else self.load_forgotten() | {s.replaces.hex() for _, _, s in found if s.replaces}
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
    for name, domain, s in repository.snapshots():
        out.append({"id": name, "domain": domain.hex(), "time": s.time, "host": s.host, "number": s.number,
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
    _, domain, snapshot = repository.snapshot(args.snapshot)
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
    name, domain, snapshot = repository.snapshot(args.snapshot)
    restore = Restore(repository, domain, args.target)
    restore.run(snapshot.root)
    print(f"restored {restore.count} entries of snapshot {name[:16]}")


def verify_command(repository, args):
    counts = {"packs": 0, "segments": 0, "chunks": 0, "index objects": 0, "snapshots": 0, "nodes": 0}
    footers = {}

    def verify_pack(name):
        data = repository.storage.read(name, f.OBJECT_LIMIT[f.PACK])
        need(f.hash_(data).hex() == name[-64:], "the content does not match the name")
        domain, rows = f.open_pack(data, repository.keys)
        footers[bytes.fromhex(name[-64:])] = (domain, len(data), rows)
        counts["packs"] += 1
        for row in rows:
            repository.open_row(row, data[row.offset : row.offset + row.sealed_length])
            counts["segments"] += 1
            counts["chunks"] += len(row.ids) // 32

    def verify_index(index):
        counts["index objects"] += 1
        for pack_id, length, rows in index.packs:
            need(pack_id in footers, f"pack {pack_id.hex()} is missing or damaged")
            need(footers[pack_id] == (index.domain, length, rows), f"pack {pack_id.hex()} has another footer")

    def verify_intent(session):
        data = repository.storage.read(f"sessions/{session}/intent", f.OBJECT_LIMIT[f.INTENT])
        record, _ = f.open_intent(data, repository.keys)
        need(record.session_id.hex() == session, "names another session")

    def verify_prune(name, number, kind, opened):
        found = opened(repository.storage.read(name, f.OBJECT_LIMIT[kind]), repository.keys)
        need(found.number == int(number, 16), "has another number")

    def verify_proof(name):
        data = repository.storage.read(f"proofs/{name}", f.OBJECT_LIMIT[f.PROOF])
        need(f.hash_(data).hex() == name, "is not what its name says")
        f.open_proof(data, repository.keys)

    def verify_snapshot(domain, root):
        counts["snapshots"] += 1
        for _, node in repository.walk(domain, root):
            counts["nodes"] += node is not None
            if node is None or node.kind != f.FILE:
                continue
            # The chunks themselves were checked with their packs; here, that they are there and fit the file.
            if node.content.form == 0:
                length = len(node.content.value)
            else:
                length = 0
                for reference in f.references_of(node.content, lambda *a: repository.fetch(domain, *a)):
                    repository.find(domain, f.DATA, *reference)
                    length += reference[1]
            wanted = node.size if node.extents is None else sum(length for _, length in node.extents)
            need(length == wanted, f"file {node.name[:64]!r}: the content's length is not that of the node")

    for name in repository.storage.packs():
        repository.attempt(name, verify_pack, name)
    repository.load_indexes()
    for name, index in repository.indexes.items():
        repository.attempt(f"index/{name.hex()}", verify_index, index)
    for session in repository.storage.names("sessions", HEX32):
        if os.path.lexists(os.path.join(repository.storage.root, "sessions", session, "intent")):
            repository.attempt(f"sessions/{session}/intent", verify_intent, session)
    for number in repository.storage.names("prune", HEX16):
        for what, kind, opened in (("plan", f.PLAN, f.open_plan), ("state", f.STATE, f.open_state), ("done", f.DONE, f.open_done)):
            name = f"prune/{number}/{what}"
            if os.path.lexists(os.path.join(repository.storage.root, name)):
                repository.attempt(name, verify_prune, name, number, kind, opened)
    repository.load_forgotten()
    for name in repository.storage.names("proofs", HEX64):
        repository.attempt(f"proofs/{name}", verify_proof, name)
    for name, domain, snapshot in repository.snapshots(all_of_them=True):
        repository.attempt(f"snapshots/{name}", verify_snapshot, domain, snapshot.root)
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
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
