"""Makes the test vectors of trees, cutting and CBOR (FORMAT.md §1, §9)."""

from encode import cbor, hash_, keyed, u24, xof

from cutting import content_of_references, cut_data, cut_nodes, cut_pages
from given import COMMON, DOMAIN, KEYS, OTHER_DOMAIN, Vectors
from make_objects import profile_json
from repo_format import PagesProfile, Profile

# tree ----------------------------------------------------------------------------------------------------------------


def node(name, kind, mode=0o644, uid=1000, gid=100, mtime=(1790000000, 1), **more):
    """CBOR map of a node; `more` are keys k6, k7 …"""
    return {0: name, 1: kind, 2: mode, 3: uid, 4: gid, 5: list(mtime), **{int(key[1:]): value for key, value in more.items()}}


def content_json(content):
    if content[0] == 0:
        return {"inline": content[1].hex()}
    references = content[-1]
    chunks = [{"id": references[i : i + 32].hex(), "length": int.from_bytes(references[i + 32 : i + 35], "little")}
              for i in range(0, len(references), 35)]
    return {"chunks": chunks} if content[0] == 1 else {"depth": content[1], "chunks": chunks}


NODE_KEYS = ("name kind mode uid gid mtime ctime inode device links size content target rdev xattrs extents").split()


def node_json(map_):
    out = {}
    for key, value in map_.items():
        if key == 11:
            value = content_json(value)
        elif key == 14:
            value = [[name.hex(), data.hex()] for name, data in value]
        elif isinstance(value, bytes):
            value = value.hex()
        if key < len(NODE_KEYS):
            out[NODE_KEYS[key]] = value
    return out


REFERENCE = xof("chunk", 32) + u24(100000)


def tree():
    v = Vectors("tree", {**COMMON, "domain": DOMAIN.hex()})
    good_nodes(v)
    directories(v)

    def bad(name, why, *nodes, raw=None):
        v.bad("nodes", name, {"stream": (b"".join(map(cbor, nodes)) if raw is None else raw).hex()}, why)

    bad_streams(bad)
    bad_values(bad)
    bad_keys(bad)
    files(v)
    contents(v)
    v.write()


def good_nodes(v):
    def good(name, *nodes, encodable=True):
        v.good("nodes" if encodable else "read_nodes", name, {"stream": b"".join(map(cbor, nodes)).hex()},
               {"nodes": [node_json(n) for n in nodes]})

    acl = bytes.fromhex("0200000001000700ffffffff04000500ffffffff20000500ffffffff")
    good("empty directory")
    good("one of every kind",
         node(b"block", 4, 0o660, 0, 6, k13=0x0801), node(b"char", 5, 0o666, 0, 0, (-5, 999999999), k13=0x0103),
         node(b"directory", 2, 0o1777, k11=[0, b""]), node(b"fifo", 6), node(b"file", 1, 0o4755, k10=5, k11=[0, b"hello"]),
         node(b"link", 3, 0o777, k12=b"../target \xff"), node(b"socket", 7, 0o600))
    good("all optional keys", node(b"f", 1, k6=[1790000001, 2], k7=2**64 - 1, k8=64769, k9=2, k10=100000, k11=[1, REFERENCE],
                                   k14=[[b"system.posix_acl_access", acl], [b"user.a", b""], [b"user.b", b"\0\1"]]))
    good("extents", node(b"all hole", 1, k10=1 << 40, k11=[0, b""], k15=[]),
         node(b"sparse", 1, k10=1000000, k11=[0, b"abcdef"], k15=[[0, 2], [4096, 3], [999999, 1]]))
    good("hard links", *(node(name, 1, k7=77, k8=5, k9=2, k10=1, k11=[0, b"x"]) for name in (b"a", b"b")))
    good("content of every form", node(b"0", 1, k10=0, k11=[0, b""]), node(b"1", 1, k10=200000, k11=[1, REFERENCE * 2]),
         node(b"2", 2, k11=[2, 1, REFERENCE]), node(b"3", 2, k11=[2, 4, REFERENCE * 3]))
    good("order of names is that of bytes", *(node(name, 6) for name in (b"A", b"B", b"a", b"a\x01", b"a.", b"aa", b"b", b"\x80", b"\xc3\xa4")))
    good("names that are nearly forbidden", *(node(name, 6) for name in (b" ", b"...", b"..a", b".a", b"\\", b"\xff" * 255)))
    good("largest numbers", node(b"n", 6, 0o7777, 2**32 - 1, 2**32 - 1, (2**63 - 1, 999999999)),
         node(b"o", 6, 0, 0, 0, (-(2**63), 0)))
    good("unknown keys are ignored", {**node(b"f", 6), 40: [b"x", {1: "y"}]}, encodable=False)
    good("largest size", node(b"f", 1, k10=2**63 - 1, k11=[0, b""], k15=[]))
    v.good("read_nodes", "unknown elements of arrays are ignored",
           {"stream": cbor(node(b"f", 1, mtime=(1, 2, 3), k10=7, k11=[0, b"ab", 0], k14=[[b"user.a", b"", 1]], k15=[[5, 2, 1]])).hex()},
           {"nodes": [node_json(node(b"f", 1, mtime=(1, 2), k10=7, k11=[0, b"ab"], k14=[[b"user.a", b""]], k15=[[5, 2]]))]})


def directories(v):
    """Streams of directories in several chunks."""
    whole = [cbor(node(name, 6)) for name in (b"a", b"b", b"c")]

    def directory(name, why, *chunks):
        inputs = {"chunks": [chunk.hex() for chunk in chunks]}
        if why:
            v.bad("directory", name, inputs, why)
        else:
            v.good("directory", name, inputs, {"names": [b"a".hex(), b"b".hex(), b"c".hex()]})

    directory("directory: one chunk", None, b"".join(whole))
    directory("directory: a chunk a node", None, *whole)
    directory("directory: two chunks", None, whole[0] + whole[1], whole[2])
    directory("directory: node goes on in the next chunk", "chunks hold whole nodes", whole[0] + whole[1][:9], whole[1][9:] + whole[2])
    directory("directory: names descend from chunk to chunk", "ascending order", whole[1], whole[0], whole[2])
    directory("directory: name repeated in the next chunk", "strictly ascending order", whole[0], *whole)


def bad_streams(bad):
    """Names, their order, and CBOR."""
    bad("names not sorted", "ascending order", node(b"b", 6), node(b"a", 6))
    bad("names sorted by length", "ascending order of bytes", node(b"b", 6), node(b"aa", 6))
    bad("name repeated", "strictly ascending order", node(b"a", 6), node(b"a", 6))
    for name, data in (("..", b".."), (".", b"."), ("/", b"/"), ("with / within", b"a/b"), ("that begins with /", b"/etc"), ("with NUL", b"a\0"),
                       ("empty", b""), ("of 4097 bytes", b"x" * 4097)):
        bad("name " + name, "the name is not allowed", node(data, 6))
    bad("name as text", "names are bytes", node("a", 6))
    one = cbor(node(b"file", 1, k10=5, k11=[0, b"hello"]))
    for cut in (1, 10, len(one) - 1):
        bad(f"truncated after {cut} bytes", "the CBOR ends too early", raw=one[:cut])
    bad("truncated second node", "the CBOR ends too early", raw=cbor(node(b"a", 6)) + one[:-1])
    bad("byte after the nodes", "not a map", raw=one + b"\0")
    bad("indefinite map", "definite lengths", raw=b"\xbf" + one[1:] + b"\xff")
    bad("integer not in its shortest form", "deterministic CBOR", raw=one.replace(b"\x01\x01\x02", b"\x01\x18\x01\x02", 1))
    bad("unknown value with a tag", "deterministic CBOR, also of what is not known", raw=cbor(node(b"a", 6, k40=0))[:-1] + b"\xc1\0")
    bad("negative key", "map keys are unsigned", raw=bytes([one[0] + 1]) + one[1:] + b"\x20\0")


def bad_values(bad):
    """Values that a key must not have."""
    bad("kind 0", "kind is not known", node(b"a", 0))
    bad("kind 8", "kind is not known", node(b"a", 8))
    bad("mode of 13 bits", "12 bits", node(b"a", 6, 0o10000))
    bad("nanoseconds 10^9", "less than 10^9", node(b"a", 6, mtime=(0, 10**9)))
    bad("no mtime", "mtime is not optional", {0: b"a", 1: 6, 2: 0, 3: 0, 4: 0})
    bad("content form 3", "form is not known", node(b"a", 1, k10=5, k11=[3, b""]))
    bad("content depth 5", "4 at most", node(b"a", 2, k11=[2, 5, REFERENCE]))
    bad("content depth 0", "1 at least", node(b"a", 2, k11=[2, 0, REFERENCE]))
    bad("references of 34 bytes", "35 bytes each", node(b"a", 2, k11=[1, REFERENCE[:-1]]))
    bad("REFERENCE of length 0", "a chunk has 1 byte at least", node(b"a", 2, k11=[1, REFERENCE[:32] + u24(0)]))
    bad("REFERENCE of 8 MiB and 1", "a chunk has 8 MiB at most", node(b"a", 2, k11=[1, REFERENCE[:32] + u24((8 << 20) + 1)]))
    bad("xattrs not sorted", "ascending names", node(b"a", 6, k14=[[b"user.b", b""], [b"user.a", b""]]))
    bad("xattr of one element", "name and value", node(b"a", 6, k14=[[b"user.b"]]))
    bad("xattr repeated", "strictly ascending names", node(b"a", 6, k14=[[b"user.b", b""], [b"user.b", b"1"]]))
    bad("xattr without a name", "names are not empty", node(b"a", 6, k14=[[b"", b""]]))
    bad("xattr name with NUL", "no NUL", node(b"a", 6, k14=[[b"user.\0", b""]]))


def bad_keys(bad):
    """Keys that a kind must have or must not have, and values that don't fit each other."""
    for name, value in (("file without size", node(b"a", 1, k11=[0, b""])), ("file without content", node(b"a", 1, k10=0)),
                        ("directory without content", node(b"a", 2)), ("symlink without target", node(b"a", 3)),
                        ("block device without number", node(b"a", 4)), ("character device without number", node(b"a", 5)),
                        ("fifo with content", node(b"a", 6, k11=[0, b""])), ("directory with size", node(b"a", 2, k10=0, k11=[0, b""])),
                        ("file with target", node(b"a", 1, k10=0, k11=[0, b""], k12=b"x")),
                        ("socket with device number", node(b"a", 7, k13=1)),
                        ("directory with extents", node(b"a", 2, k11=[0, b""], k15=[]))):
        bad(name, "keys 10 to 13 and 15 belong to kinds", value)
    bad("symlink target empty", "1 byte at least", node(b"a", 3, k12=b""))
    bad("symlink target of 65537 bytes", "65536 bytes at most", node(b"a", 3, k12=b"x" * 65537))
    bad("symlink target with NUL", "no NUL", node(b"a", 3, k12=b"x\0"))
    bad("size 2^63", "below 2^63", node(b"a", 1, k10=2**63, k11=[0, b""], k15=[]))
    bad("uid 2^32", "32 bits", node(b"a", 6, uid=2**32))
    bad("gid 2^32", "32 bits", node(b"a", 6, gid=2**32))
    bad("inline content shorter than the size", "stream and size differ", node(b"a", 1, k10=6, k11=[0, b"hello"]))
    bad("chunks longer than the size", "stream and size differ", node(b"a", 1, k10=99999, k11=[1, REFERENCE]))
    bad("inline content longer than the extents", "stream and extents differ", node(b"a", 1, k10=6, k11=[0, b"hello"], k15=[[0, 4]]))
    for name, extents in (("overlapping", [[0, 3], [2, 3]]), ("touching", [[0, 3], [3, 3]]), ("descending", [[10, 3], [0, 3]]), ("empty", [[0, 6], [50, 0]]),
                          ("beyond the size", [[0, 3], [98, 3]]), ("with overflow", [[0, 5], [2**64 - 1, 1]])):
        bad("extents " + name, "ascending, not touching, within the size", node(b"a", 1, k10=100, k11=[0, b"abcdef"], k15=extents))


def files(v):
    """What a file is, of its stream and extents."""
    for name, size, extents, stream in (("no extents", 5, None, b"hello"), ("empty", 0, None, b""), ("all hole", 7, [], b""),
                                        ("holes between", 12, [[2, 3], [6, 1]], b"abcd"), ("data at the end", 4, [[3, 1]], b"x")):
        out = bytearray(size)
        position = 0
        for offset, length in extents if extents is not None else [[0, size]]:
            out[offset : offset + length] = stream[position : position + length]
            position += length
        v.good("file", "file: " + name, {"size": size, "extents": extents, "stream": stream.hex()}, {"file": bytes(out).hex()})
    for name, size, extents, stream in (("stream too short", 5, None, b"hell"), ("stream too long", 5, None, b"hello!"),
                                        ("stream shorter than the extents", 12, [[2, 3], [6, 1]], b"abc"),
                                        ("stream longer than the extents", 12, [[2, 3], [6, 1]], b"abcde"),
                                        ("stream in a file that is all hole", 7, [], b"a")):
        v.bad("file", "file: " + name, {"size": size, "extents": extents, "stream": stream.hex()}, "stream and extents differ in length")


def contents(v):
    """Content through chunks: `chunks` holds what the content names, [kind, plaintext]."""
    keys_ = KEYS.domain(DOMAIN)

    def ref(kind, plain):
        return keyed(keys_.data_id if kind == 1 else keys_.tree_id, plain) + u24(len(plain))

    a, b, c = b"aaa", b"bbbb", b"c" * 10
    list1, list2 = ref(1, a) + ref(1, b), ref(1, c) + ref(1, a)
    tree_list = ref(2, a) + ref(2, b)
    top = ref(2, list1) + ref(2, list2)
    data = [[1, a], [1, b], [1, c]]
    lists = [[2, list1], [2, list2]]

    def inputs(kind, content, chunks):
        return {**COMMON, "domain": DOMAIN.hex(), "kind": kind, "content": cbor(content).hex(),
                "chunks": [[k, plain.hex()] for k, plain in chunks]}

    for name, kind, content, chunks, stream in (
            ("inline", 1, [0, a], [], a), ("no chunk", 1, [1, b""], [], b""), ("three chunks", 1, [1, list1 + ref(1, a)], data, a + b + a),
            ("depth 1", 1, [2, 1, top], data + lists, a + b + c + a),
            ("depth 2", 1, [2, 2, ref(2, top) + ref(2, ref(2, list1))], data + lists + [[2, top], [2, ref(2, list1)]], a + b + c + a + a + b),
            ("depth 1 of a directory's stream", 2, [2, 1, ref(2, tree_list)], [[2, tree_list], [2, a], [2, b]], a + b),
            ("more elements are ignored", 1, [0, a, 5], [], a)):
        v.good("content", "content: " + name, inputs(kind, content, chunks), {"stream": stream.hex()})
    for name, kind, content, chunks, why in (
            ("chunk missing", 1, [1, list1], data[:1], "in no index"),
            ("list missing", 1, [2, 1, top], data + lists[:1], "in no index"),
            ("data chunk as a list", 1, [2, 1, ref(1, list1)], data + [[1, list1]], "lists are tree chunks"),
            ("tree chunk as data", 1, [1, ref(2, a)], [[2, a]], "the stream of a file has data chunks"),
            ("length differs", 1, [1, ref(1, a)[:32] + u24(4)], data, "not the chunk's length"),
            ("list of 36 bytes", 1, [2, 1, ref(2, list1 + b"x")], data + [[2, list1 + b"x"]], "35 bytes each")):
        v.bad("content", "content: " + name, inputs(kind, content, chunks), why)


# chunker, tree_cut ---------------------------------------------------------------------------------------------------


def make_data(data):
    if "xof" in data:
        return xof(data["xof"], data["length"])
    if "repeat" in data:
        unit = bytes.fromhex(data["repeat"])
        return (unit * (data["length"] // len(unit) + 1))[: data["length"]]
    return b"".join(map(make_data, data["join"]))


def make_nodes(nodes):
    """[(name, size)] from a list of them, or from a rule for many."""
    if isinstance(nodes, list):
        return [(name.encode(), size) for name, size in nodes]
    return [(f"{nodes['prefix']}{i}".encode(), nodes["base"] + i * nodes["factor"] % nodes["modulus"]) for i in range(nodes["count"])]


def make_references(source, count):
    ids = xof(source["xof"], 32 * count) if "xof" in source else bytes.fromhex(source["repeat"]) * 32 * count
    return [ids[32 * i : 32 * i + 32] + u24(4096 + i % 1000) for i in range(count)]


def chunker():
    v = Vectors("chunker", {**COMMON, "domain": DOMAIN.hex()})
    small = Profile(1, 64, 256, 1024, 0x0000590003530000, 0x0000190003130000)
    sparse_masks = Profile(1, 2048, 8192, 65536, 0x0000D93003530000, 0x0000D90003530000 & ~(1 << 44))
    low_bits = Profile(1, 128, 512, 4096, 0x3FF, 0x7F)
    large = Profile(1, 65536, 131072, 524288, 0x0003590003530000, 0x0000190003530000)
    always = Profile(1, 64, 256, 1024, 0, 0)
    never = Profile(1, 64, 256, 1024, 2**63 - 1, 2**63 - 1)
    same = Profile(1, 1024, 1024, 1024, 0xF, 0xF)

    def good(name, profile, data, domain=DOMAIN):
        raw = make_data(data)
        lengths = cut_data(raw, profile, KEYS.domain(domain).gear_table)
        assert sum(lengths) == len(raw)
        v.good("cut", name, {**COMMON, "domain": domain.hex(), "profile": profile_json(profile), "data": data}, {"lengths": lengths})

    for name, profile in (("small", small), ("middle", sparse_masks), ("low bits", low_bits)):
        for length in {"small": (0, 1, 63, 64, 65, 66, 255, 256, 257, 1023, 1024, 1025, 4097, 20001),
                       "middle": (2048, 2049, 2050, 8191, 65537, 300001), "low bits": (10007, 50000)}[name]:
            good(f"{name}, {length} bytes", profile, {"xof": "chunker data", "length": length})
    good("another domain", small, {"xof": "chunker data", "length": 5000}, OTHER_DOMAIN)
    good("large", large, {"xof": "chunker data", "length": 1500001})
    for length in (64, 65, 1024, 1025, 5000, 5001):
        good(f"zeros, {length} bytes", small, {"repeat": "00", "length": length})
    good("ff", low_bits, {"repeat": "ff", "length": 20001})
    good("period of 7", small, {"repeat": "01020304050607", "length": 3001})
    good("data after zeros", small, {"join": [{"repeat": "00", "length": 3001}, {"xof": "chunker data", "length": 3000}]})
    good("masks 0: every chunk is min", always, {"xof": "chunker data", "length": 1001})
    good("masks of 63 bits: every chunk is max", never, {"xof": "chunker data", "length": 4001})
    good("min, average and max equal", same, {"xof": "chunker data", "length": 3001})

    pages = PagesProfile(2, 4096, 16384)
    for page in (512, 4096, 8192, 16384, 65536):
        for length in (0, 1, 4095, 4096, 4097, 100000):
            lengths = cut_pages(length, page, pages)
            assert sum(lengths) == length
            v.good("cut_pages", f"pages of {page}, {length} bytes", {"profile": dict(pages._asdict()), "page": page, "length": length}, {"lengths": lengths})
    v.write()


def tree_cut():
    v = Vectors("tree_cut", {**COMMON, "domain": DOMAIN.hex()})

    def good(name, nodes, domain=DOMAIN):
        counts = cut_nodes(make_nodes(nodes), KEYS.domain(domain).tree_chunker)
        v.good("cut_nodes", name, {**COMMON, "domain": domain.hex(), "nodes": nodes}, {"counts": counts})

    def names(count, base, factor=0, modulus=1):
        return {"prefix": "n", "count": count, "base": base, "factor": factor, "modulus": modulus}

    good("no node", [])
    good("one node", [["a", 100]])
    good("one node over 256 KiB", [["a", 300000]])
    good("nodes over 256 KiB each", names(3, 300000))
    good("exactly 256 KiB, then one more", names(3, 131072))
    good("256 KiB and a byte", [["a", 131072], ["b", 131073], ["c", 1]])
    good("a large one between small ones", [["a", 10], ["b", 262144], ["c", 10]])
    good("many of 400 bytes", names(900, 400))
    good("many of mixed sizes", names(500, 100, 37, 3000))
    good("the same in another domain", names(500, 100, 37, 3000), OTHER_DOMAIN)
    good("few cuts by hash: 5000 bytes each", names(300, 5000))
    # A name that ends chunks, to show the limit of 16 KiB from both sides.
    key = KEYS.domain(DOMAIN).tree_chunker
    ender = next(f"e{i}" for i in range(10**6) if int.from_bytes(keyed(key, f"e{i}".encode())[:8], "little") % 128 == 0)
    good("cut after a node at 16 KiB", [["a", 16383], [ender, 1], ["z", 1]])
    good("no cut below 16 KiB", [["a", 16382], [ender, 1], ["z", 1]])
    good("cut after the last node", [["a", 20000], [ender, 1]])
    good("cut after a first large node", [[ender, 300000], ["z", 1]])

    for name, source, count in (
            ("none", {"xof": "references"}, 0), ("1", {"xof": "references"}, 1), ("128", {"xof": "references"}, 128),
            ("129", {"xof": "references"}, 129), ("1000", {"xof": "references"}, 1000), ("20000", {"xof": "references"}, 20000),
            ("200000, two levels", {"xof": "references"}, 200000), ("no id cuts", {"repeat": "ff"}, 9000),
            ("512 and no id cuts", {"repeat": "ff"}, 512), ("every id cuts", {"repeat": "00"}, 1000), ("every id cuts, 31 left", {"repeat": "00"}, 159)):
        content, chunks, levels = content_of_references(make_references(source, count), KEYS.domain(DOMAIN).tree_id)
        raw = cbor(content)
        v.good("cut_references", f"references: {name}", {**COMMON, "domain": DOMAIN.hex(), "ids": source, "count": count},
               {"pieces": levels, "chunks_hash": hash_(b"".join(chunks)).hex(), "content_hash": hash_(raw).hex(),
                "content": raw.hex() if len(raw) <= 300 else None})
    v.write()


def nested(depth):
    return [nested(depth - 1)] if depth else 0


def cbor_vectors():
    v = Vectors("cbor", {})
    for name, value, shown in (("0", 0, 0), ("23", 23, 23), ("24", 24, 24), ("255", 255, 255), ("256", 256, 256), ("65535", 65535, 65535),
                               ("65536", 65536, 65536), ("2^32 - 1", 2**32 - 1, 2**32 - 1), ("2^32", 2**32, 2**32),
                               ("2^64 - 1", 2**64 - 1, 2**64 - 1), ("-1", -1, -1), ("-24", -24, -24), ("-25", -25, -25), ("-2^63", -(2**63), -(2**63)),
                               ("bytes", b"\1\2", {"bytes": "0102"}), ("empty bytes", b"", {"bytes": ""}), ("text", "\u00e4\U0001f600", {"text": "\u00e4\U0001f600"}),
                               ("array", [1, [2, []]], [1, [2, []]]), ("false", False, False), ("true", True, True), ("null", None, None), ("32 arrays", nested(32), nested(32)),
                               ("map", {0: 1, 23: 2, 24: 3, 256: 4}, {"map": [[0, 1], [23, 2], [24, 3], [256, 4]]}),
                               ("empty map", {}, {"map": []}), ("24 bytes", bytes(24), {"bytes": "00" * 24})):
        v.good("value", name, {"value": shown}, {"cbor": cbor(value).hex()})
    for name, data in (("nothing", ""), ("24 in two bytes less one", "1817"), ("255 in three bytes", "1900ff"), ("65535 in five bytes", "1a0000ffff"),
                       ("2^32 - 1 in nine bytes", "1b00000000ffffffff"), ("-24 in two bytes", "3817"), ("length of bytes not shortest", "580100"),
                       ("length of an array not shortest", "980100"), ("length of a map not shortest", "b8010000"), ("length of text not shortest", "780161"),
                       ("indefinite bytes", "5f4100ff"), ("indefinite text", "7f6161ff"), ("indefinite array", "9f00ff"), ("indefinite map", "bf0000ff"),
                       ("break", "ff"), ("reserved info 28", "1c"), ("reserved info 30", "5e"), ("keys descending", "a201000000"), ("key repeated", "a200000000"),
                       ("keys of different lengths descending", "a219010001181800"), ("text key", "a1616100"), ("bytes key", "a1416100"), ("invalid UTF-8", "61ff"),
                       ("overlong UTF-8", "62c080"), ("surrogate in UTF-8", "63eda080"), ("truncated integer", "19ff"), ("truncated bytes", "430102"),
                       ("truncated text", "6261"), ("truncated array", "8201"), ("truncated map", "a100"), ("array of 2^60", "9b1000000000000000"),
                       ("map of 2^63", "bb8000000000000000"), ("bytes of 2^64 - 1", "5bffffffffffffffff"), ("byte after the value", "0000"),
                       ("tag", "c100"), ("float", "f93c00"), ("undefined", "f7"), ("nested 1000 deep", "81" * 1000 + "00"),
                       ("nested 33 deep", "81" * 33 + "00"), ("maps nested 33 deep", "a100" * 33 + "00"), ("negative key", "a12000"),
                       ("simple value 0", "e0"), ("simple value 32", "f820"), ("false in two bytes", "f814"), ("double", "fb3ff0000000000000"),
                       ("null as a key", "a1f600"), ("byte string in pieces within an array", "815f4100ff")):
        v.bad("decode", name, {"cbor": data}, "not deterministic CBOR of the types that the format has")
    v.write()


