"""The objects of a repository in a local directory, and how the reader warns."""

import os
import re
import stat
import sys

from repo_format import Refused, need

HEX8, HEX16, HEX32, HEX64 = (re.compile("[0-9a-f]{%d}" % digits) for digits in (8, 16, 32, 64))


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

    def exists(self, name):
        return os.path.lexists(os.path.join(self.root, name))

    def names(self, directory, pattern):
        """Other names are not part of the repository (§2)."""
        try:
            return sorted(name for name in os.listdir(os.path.join(self.root, directory)) if pattern.fullmatch(name))
        except FileNotFoundError:
            return []

    def packs(self):
        return [f"packs/{xx}/{name}" for xx in self.names("packs", re.compile("[0-9a-f]{2}"))
                for name in self.names(f"packs/{xx}", HEX64) if name.startswith(xx)]
