"""How writers cut streams (FORMAT.md §9.1, §9.3, §9.4). A reader needs none of this; the test vectors do."""

import struct

from repo_format import KIB, keyed


def cut_data(data, profile, gear_table):
    """Lengths of the chunks of a stream (§9.4)."""
    gear = struct.unpack("<256Q", gear_table)
    lengths, start = [], 0
    while start < len(data):
        length = first_chunk(data, start, profile, gear)
        lengths.append(length)
        start += length
    return lengths


def first_chunk(data, start, profile, gear):
    n = len(data) - start
    if n <= profile.min:
        return n
    end = min(n, profile.max) & ~1
    average = min(profile.average, n)
    h = 0
    for i in range(profile.min, end):
        h = (2 * h + gear[data[start + i]]) & 0xFFFFFFFFFFFFFFFF
        if h & (profile.strict_mask if i < average else profile.loose_mask) == 0:
            return i
    return min(n, profile.max)


def cut_pages(length, page, profile):
    """Lengths of the chunks of a stream of `length` bytes in pages (§9.4)."""
    size = min(max(page, profile.min), profile.max)
    return [size] * (length // size) + [length % size] * (length % size > 0)


def cut_nodes(nodes, tree_chunker_key):
    """How many of the (name, size) go into each tree chunk (§9.3)."""
    counts, count, total = [], 0, 0
    for name, size in nodes:
        if count and total + size > 256 * KIB:
            counts.append(count)
            count = total = 0
        count, total = count + 1, total + size
        if total >= 16 * KIB and int.from_bytes(keyed(tree_chunker_key, name)[:8], "little") % 128 == 0:
            counts.append(count)
            count = total = 0
    return counts + [count] * (count > 0)


def cut_references(references):
    """Pieces of a list of 35-byte references that is too long for a node (§9.1)."""
    pieces, piece = [], []
    for reference in references:
        piece.append(reference)
        boundary = int.from_bytes(reference[:2], "little") % 128 == 0
        if (boundary and len(piece) >= 32) or len(piece) == 512:
            pieces.append(piece)
            piece = []
    return pieces + [piece] * (len(piece) > 0)


def content_of_references(references, tree_id_key):
    """(content as a list for CBOR, tree chunks made for it, piece lengths of each level)"""
    depth, chunks, levels = 0, [], []
    while len(references) > 128:
        plains = [b"".join(piece) for piece in cut_references(references)]
        levels.append([len(plain) // 35 for plain in plains])
        chunks += plains
        references = [keyed(tree_id_key, plain) + struct.pack("<I", len(plain))[:3] for plain in plains]
        depth += 1
    joined = b"".join(references)
    return ([2, depth, joined] if depth else [1, joined]), chunks, levels
