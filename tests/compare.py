#!/usr/bin/env python3
"""Compares two trees by what the file system itself says of them; prints each difference and exits with 1.

Shares nothing with the program under test. Everything is opened relative to its directory, so that trees deeper than
the longest path are no trouble.
"""

import argparse
import hashlib
import os
import stat
import sys

SLACK = 64 << 10  # bytes that a file system may add to a file for its own sake


class Tree:
    """Every entry of a tree: path (bytes) -> what is compared."""

    def __init__(self, root, options):
        self.options, self.entries, self.links, self.problems = options, {}, {}, []
        root = os.fsencode(root)
        info = os.lstat(root)
        self.entries[b"."] = self.describe(root, b".", info)
        if stat.S_ISDIR(info.st_mode):
            self.walk(os.open(root, os.O_RDONLY | os.O_DIRECTORY), b".")

    def walk(self, descriptor, prefix):
        for name in sorted(map(os.fsencode, os.listdir(descriptor))):
            path = prefix + b"/" + name
            if path[2:] in self.options.skip:
                continue
            info = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            # Only a path reaches a symlink's attributes; this one leads through the open directory.
            self.entries[path] = self.describe(b"/proc/self/fd/%d/%b" % (descriptor, name), path, info)
            if stat.S_ISDIR(info.st_mode):
                self.walk(os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor), path)
        os.close(descriptor)

    def describe(self, where, path, info):
        kind = stat.S_IFMT(info.st_mode)
        seen = {"type": oct(kind)}
        if not self.options.content_only:
            seen["mode"] = oct(stat.S_IMODE(info.st_mode))
            seen["mtime"] = info.st_mtime_ns
            seen["xattrs"] = {name: os.getxattr(where, name, follow_symlinks=False)
                              for name in sorted(os.listxattr(where, follow_symlinks=False))}
            if not self.options.no_owner:
                seen["owner"] = info.st_uid, info.st_gid
        if kind == stat.S_IFLNK:
            seen["target"] = os.readlink(where)
        elif kind in (stat.S_IFBLK, stat.S_IFCHR):
            seen["device"] = os.major(info.st_rdev), os.minor(info.st_rdev)
        elif kind == stat.S_IFREG:
            seen["size"] = info.st_size
            seen["content"], seen["_extents"] = self.content(where, info)
            seen["_blocks"] = info.st_blocks * 512
        if kind != stat.S_IFDIR and info.st_nlink > 1:
            self.links.setdefault((info.st_dev, info.st_ino), set()).add(path)
        return seen

    @staticmethod
    def content(where, info):
        digest, extents = hashlib.sha256(), []
        with open(where, "rb", buffering=0) as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
            position = 0
            while info.st_blocks * 512 < info.st_size and position < info.st_size:
                try:
                    start = os.lseek(file.fileno(), position, os.SEEK_DATA)
                except OSError:  # no data after this position
                    break
                position = os.lseek(file.fileno(), start, os.SEEK_HOLE)
                extents.append((start, position))
        return digest.hexdigest(), extents

    def groups(self):
        return sorted(sorted(group) for group in self.links.values() if len(group) > 1)


def compare_sparse(left, right):
    """A file with holes must have its holes; one more block here or there is the file system's business."""
    if left["_blocks"] >= left["size"]:
        return None
    if right["_blocks"] > left["_blocks"] + SLACK:
        return f"takes {right['_blocks']} bytes on disk, {left['_blocks']} in the first"
    if left["_extents"] != right["_extents"]:
        return f"data at {right['_extents'][:9]}, at {left['_extents'][:9]} in the first"
    return None


def compare(left, right, options):
    for path in sorted(left.entries.keys() | right.entries.keys()):
        if path not in left.entries or path not in right.entries:
            yield path, f"only in the {'first' if path in left.entries else 'second'}"
            continue
        ours, theirs = left.entries[path], right.entries[path]
        if path == b"." and options.no_root:
            continue
        for key in sorted(ours.keys() | theirs.keys()):
            if not key.startswith("_") and ours.get(key) != theirs.get(key):
                yield path, f"{key}: {ours.get(key)!r} in the first, {theirs.get(key)!r} in the second"
        if "_blocks" in ours and "_blocks" in theirs and not options.content_only:
            if difference := compare_sparse(ours, theirs):
                yield path, difference
    if not options.content_only and left.groups() != right.groups():
        yield b".", f"hard links: {left.groups()} in the first, {right.groups()} in the second"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("left")
    parser.add_argument("right")
    parser.add_argument("--no-owner", action="store_true", help="owners may differ")
    parser.add_argument("--no-root", action="store_true", help="the two roots themselves may differ")
    parser.add_argument("--content-only", action="store_true", help="names, types and bytes only")
    parser.add_argument("--paths", action="store_true", help="print the paths that differ and nothing else")
    parser.add_argument("--skip", action="append", default=[], type=os.fsencode, help="leave out this path")
    options = parser.parse_args()
    left, right = Tree(options.left, options), Tree(options.right, options)
    count = 0
    for path, difference in compare(left, right, options):
        count += 1
        if options.paths:
            sys.stdout.buffer.write(path + b"\n")
        elif count <= 40:
            print(f"{path!r}: {difference}")
    if not options.paths:
        print(f"{len(left.entries)} and {len(right.entries)} entries, {count} differences")
    sys.stdout.flush()
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
