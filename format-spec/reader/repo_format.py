"""Decoding of every object of FORMAT.md: bytes in, checked values out. Nothing here touches a storage.

Section numbers (§) are those of FORMAT.md. Every function raises `Refused` on anything that the format forbids. What
may be signed by a write-only client is returned with its signer: None for full clients, or a `Client`.
"""

import struct
from collections import namedtuple

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import strict_cbor
from repo_keys import *

# §4 ------------------------------------------------------------------------------------------------------------------

Profile = namedtuple("Profile", "chunker min average max strict_mask loose_mask")
PagesProfile = namedtuple("PagesProfile", "chunker min max")
Config = namedtuple("Config", "repository_id created suite pack_size segment_size profiles read write prune")


def check_profile(map_):
    what = "config: chunker profile"
    p = Profile(get(map_, 0, uint(1, 1), what), get(map_, 1, uint(64, MIB), what), get(map_, 2, uint(256, 4 * MIB), what),
                get(map_, 3, uint(1024, 8 * MIB), what), get(map_, 4, uint(0, 2**63 - 1), what),
                get(map_, 5, uint(0, 2**63 - 1), what))
    need(p.min <= p.average <= p.max, f"{what}: min, average and max are not in order")
    need((p.min | p.average | p.max) % 2 == 0, f"{what}: min, average or max is odd")
    return p


def check_pages_profile(map_):
    what = "config: chunker profile for pages"
    p = PagesProfile(get(map_, 0, uint(2, 2), what), get(map_, 1, uint(KIB, MIB), what), get(map_, 3, uint(KIB, MIB), what))
    need(p.min <= p.max, f"{what}: min and max are not in order")
    need(p.min & (p.min - 1) == 0 and p.max & (p.max - 1) == 0, f"{what}: min or max is no power of two")
    return p


def parse_config(data):
    """Everything but the MAC, which needs a key slot first: `check_config_auth`."""
    need(len(data) <= OBJECT_LIMIT[CONFIG], "config: too long")
    check_header(data, CONFIG, "config")
    body, _ = without_auth(data, PUBLIC_KINDS, "config")
    m = decode_map(body[8:], "config")
    files, dumps, pages = get(m, 5, tuple_(mapping, mapping, mapping), "config")
    config = Config(
        get(m, 0, blob(16), "config"), get(m, 1, time, "config"), get(m, 2, uint(1, 2), "config"),
        get(m, 3, uint(MIB, 512 * MIB), "config"), get(m, 4, uint(64 * KIB, 8 * MIB), "config"),
        [check_profile(files), check_profile(dumps), check_pages_profile(pages)],
        *(get(m, key, array(text, FEATURES_LIMIT), "config") for key in (6, 7, 8)))
    need(not config.read, f"config: features that this reader does not know: {', '.join(config.read)}")
    return config


def check_config_auth(data, root_keys):
    check_auth(data, root_keys, PUBLIC_KINDS, "config")


# §6 ------------------------------------------------------------------------------------------------------------------

Intent = namedtuple("Intent", "started host process boot program")
Register = namedtuple("Register", "session_id state snapshot")


def open_envelope(data, kind, root_keys, what, kinds=PRIVATE_KINDS):
    """(session key record, decoded map, signer) of a session envelope."""
    need(len(data) <= OBJECT_LIMIT[kind], f"{what}: too long")
    check_header(data, kind, what)
    data, client = check_auth(data, root_keys, kinds, what)
    body = 8 + RECORD_LENGTH
    need(len(data) >= body + SEAL_OVERHEAD, f"{what}: too short")
    record = parse_record(data[8:body], what)
    check_domain(client, record.domain, what)
    keys = SessionKeys(open_record(record, root_keys), record.session_id)
    aad = data[:8] + root_keys.repository_id + record.raw
    return record, decode_map(unseal(keys.object, aad, data[body:], what), what), client


def open_intent(data, root_keys):
    """(session key record, intent, signer)"""
    record, m, client = open_envelope(data, INTENT, root_keys, "intent", CLIENT_KINDS)
    return record, Intent(get(m, 0, time, "intent"), get(m, 1, text, "intent"), get(m, 2, uint(), "intent"),
                          get(m, 3, text, "intent"), get(m, 4, text, "intent")), client


def parse_register(body):
    m = decode_map(body[8:], "register")
    state, snapshot = get(m, 1, uint(1, 2), "register"), get(m, 2, blob(32), "register", optional=True)
    return Register(get(m, 0, blob(16), "register"), state, snapshot if state == COMMITTED else None)


def open_register(data, root_keys):
    """(register, signer)"""
    need(len(data) <= OBJECT_LIMIT[REGISTER], "register: too long")
    check_header(data, REGISTER, "register")
    body, client = check_auth(data, root_keys, REGISTER_KINDS, "register")
    return parse_register(body), client


def open_register_as_client(data, signature_publics, client):
    """What a write-only client takes for a register: one of full clients, or of its own."""
    need(len(data) <= OBJECT_LIMIT[REGISTER], "register: too long")
    check_header(data, REGISTER, "register")
    return parse_register(check_auth_as_client(data, signature_publics, client, "register"))


# §7, §8 --------------------------------------------------------------------------------------------------------------

Row = namedtuple("Row", "record offset sealed_length kind suite compression plain_length lengths ids")
IndexObject = namedtuple("IndexObject", "domain session_id packs replaces lost taken_out")  # packs: [(pack id, length, [Row])]


def padme(length):
    e = length.bit_length() - 1
    s = e.bit_length()  # floor(log2 e) + 1
    step = 1 << min(e - s, 16)
    return -(-length // step) * step


def row_chunks(row):
    """(id, offset in the plaintext, length) of each chunk."""
    position = 0
    for i in range(len(row.ids) // 32):
        length = int.from_bytes(row.lengths[3 * i : 3 * i + 3], "little")
        yield row.ids[32 * i : 32 * i + 32], position, length
        position += length


def parse_row(value, records, what):
    which, *rest = tuple_(uint(), uint(), uint(SEAL_OVERHEAD, SEALED_LIMIT), uint(1, 2), uint(1, 2), uint(0, 1),
                          uint(1, PLAINTEXT_LIMIT), blob(), blob())(value)
    need(which < len(records), f"{what}: a segment names a session key record that does not exist")
    row = Row(records[which], *rest)
    count = len(row.ids) // 32
    need(count >= 1 and len(row.ids) == 32 * count and len(row.lengths) == 3 * count,
         f"{what}: chunk ids and lengths do not match")
    lengths = [length for _, _, length in row_chunks(row)]
    need(all(1 <= length <= CHUNK_LIMIT for length in lengths), f"{what}: a chunk length is outside the limits")
    need(sum(lengths) == row.plain_length, f"{what}: chunk lengths do not add up")
    need(row.compression or row.sealed_length == row.plain_length + SEAL_OVERHEAD,
         f"{what}: the sealed length does not fit the plaintext length")
    return row


def parse_rows(values, records, end, what):
    """Rows whose segments must lie between the header and `end`."""
    rows = [parse_row(value, records, what) for value in values]
    position = 8
    for row in sorted(rows, key=lambda row: row.offset):
        need(row.offset >= position, f"{what}: segments overlap each other or the header")
        position = row.offset + row.sealed_length
    need(position <= end, f"{what}: a segment reaches beyond its place")
    return rows


def parse_records(values, domain, what):
    records = [parse_record(raw, what) for raw in values]
    need(all(record.domain == domain for record in records), f"{what}: a session key record is of another domain")
    return records


def open_frame(key, aad, sealed, what):
    frame = unseal(key, aad, sealed, what)
    need(len(frame) >= 4 and len(frame) % 4096 == 0, f"{what}: the frame is not a multiple of 4096 bytes")
    end = 4 + int.from_bytes(frame[:4], "little")
    need(end <= len(frame), f"{what}: the CBOR is longer than its frame")
    need(not any(frame[end:]), f"{what}: the frame's padding is not zero")
    return decode_map(frame[4:end], what)


def parse_tail(tail, pack_length):
    """(domain, offset of the footer) from a pack's last 28 bytes."""
    need(len(tail) == TAIL_LENGTH and pack_length >= 8 + TAIL_LENGTH, "pack: too short")
    need(pack_length <= OBJECT_LIMIT[PACK], "pack: too long")
    need(tail[24:] == b"pend", "pack: does not end as a pack does")
    epoch, length = struct.unpack("<II", tail[16:24])
    need(epoch == 0, f"pack: epoch {epoch} is not known")
    need(length <= FOOTER_LIMIT, "pack: the footer is too long")
    need(length <= pack_length - 8 - TAIL_LENGTH, "pack: the footer is longer than the pack")
    return bytes(tail[:16]), pack_length - TAIL_LENGTH - length


def open_footer(footer, footer_offset, domain, root_keys):
    aad = b"repo v1 footer" + root_keys.repository_id + domain + u32(0)
    m = open_frame(root_keys.domain(domain).index, aad, footer, "pack footer")
    records = parse_records(get(m, 0, array(blob(RECORD_LENGTH), RECORDS_LIMIT), "pack footer"), domain, "pack footer")
    return parse_rows(get(m, 1, array(lambda v: v), "pack footer"), records, footer_offset, "pack footer")


def open_pack(data, root_keys):
    """(domain, rows) of a whole pack."""
    check_header(data, PACK, "pack")
    domain, footer_offset = parse_tail(data[max(0, len(data) - TAIL_LENGTH):], len(data))
    return domain, open_footer(data[footer_offset:-TAIL_LENGTH], footer_offset, domain, root_keys)


def unzstd(data, length):
    """The content of one zstd frame, which must be `length` bytes; no more than that is allocated."""
    need(data[:4] == b"\x28\xb5\x2f\xfd", "segment: not a zstd frame")
    try:
        frame = zstandard.get_frame_parameters(data)
        need(frame.dict_id == 0, "segment: the zstd frame needs a dictionary")
        need(frame.content_size in (length, zstandard.CONTENTSIZE_UNKNOWN), "segment: wrong length of the zstd frame")
        plain = zstandard.ZstdDecompressor().decompress(data, max_output_size=length, allow_extra_data=False)
    except zstandard.ZstdError:
        raise Refused("segment: does not decompress to its length") from None
    need(len(plain) == length, "segment: does not decompress to its length")
    return plain


def segment_aad(row, repository_id):
    return (b"repo v1 segment" + repository_id + row.record.session_id + bytes([row.kind, row.suite, row.compression])
            + u32(row.plain_length) + hash_(row.lengths + row.ids))


def open_segment_unchecked(row, sealed, session_keys, repository_id):
    """The plaintext of a segment, whose chunks may be others than their ids say."""
    need(len(sealed) == row.sealed_length, "segment: truncated")
    nonce, aad = bytes(sealed[:24]), segment_aad(row, repository_id)
    if row.suite == 1:
        plain = unseal(session_keys.segment, aad, sealed, "segment")
    else:
        try:
            plain = AESGCM(keyed(session_keys.segment, nonce)).decrypt(bytes(12), bytes(sealed[24:]), aad)
        except InvalidTag:
            raise Refused("segment: does not decrypt (damaged, forged or another key)") from None
    if row.compression:
        plain = unzstd(plain, row.plain_length)
    need(len(plain) == row.plain_length, "segment: wrong length")
    return plain


def open_segment(row, sealed, session_keys, domain_keys, repository_id):
    """The plaintext of a segment, with all its chunks checked against their ids."""
    plain = open_segment_unchecked(row, sealed, session_keys, repository_id)
    for chunk_id, offset, length in row_chunks(row):
        need(domain_keys.chunk_id(row.kind, plain[offset : offset + length]) == chunk_id,
             f"segment: a chunk does not match its id {chunk_id.hex()}")
    return plain


def open_index(data, root_keys):
    """(index object, signer)"""
    need(len(data) <= OBJECT_LIMIT[INDEX], "index: too long")
    check_header(data, INDEX, "index")
    # In the domain of write-only clients those are to check what full clients say.
    kinds = REGISTER_KINDS if any(data[8:24]) else CLIENT_KINDS
    data, client = check_auth(data, root_keys, kinds, "index")
    need(len(data) >= 28 + SEAL_OVERHEAD, "index: too short")
    domain, epoch = bytes(data[8:24]), int.from_bytes(data[24:28], "little")
    need(epoch == 0, f"index: epoch {epoch} is not known")
    check_domain(client, domain, "index")
    aad = data[:8] + root_keys.repository_id + data[8:28]
    m = open_frame(root_keys.domain(domain).index, aad, data[28:], "index")
    records = parse_records(get(m, 1, array(blob(RECORD_LENGTH), RECORDS_LIMIT), "index"), domain, "index")
    packs = []
    shape = tuple_(blob(32), uint(8 + TAIL_LENGTH, GIB), array(lambda v: v))
    for pack_id, length, values in get(m, 2, array(shape, ARRAY_LIMIT), "index"):
        packs.append((pack_id, length, parse_rows(values, records, length - TAIL_LENGTH, "index")))
    replaces = get(m, 3, array(blob(32), ARRAY_LIMIT), "index")
    lost, taken_out = (ids(get(m, key, blob(), "index", optional=True) or b"") for key in (4, 5))
    if client:  # these take something away, which a write-only client can't
        replaces, lost, taken_out = [], [], []
    return IndexObject(domain, get(m, 0, blob(16), "index"), packs, replaces, lost, taken_out), client


def ids(column):
    need(len(column) % 32 == 0 and len(column) // 32 <= ARRAY_LIMIT, "index: a column of ids")
    return [column[at : at + 32] for at in range(0, len(column), 32)]


# §9 ------------------------------------------------------------------------------------------------------------------

Content = namedtuple("Content", "form depth value")  # form 0: value is the stream; 1, 2: value is [(id, length)]
Node = namedtuple("Node", "name kind mode uid gid mtime ctime inode device links size content target rdev xattrs extents")


def parse_references(raw):
    need(type(raw) is bytes and len(raw) % 35 == 0, "content: references are not 35 bytes each")
    references = [(raw[i : i + 32], int.from_bytes(raw[i + 32 : i + 35], "little")) for i in range(0, len(raw), 35)]
    need(all(1 <= length <= CHUNK_LIMIT for _, length in references), "content: a chunk length is outside the limits")
    return references


def parse_content(value):
    need(type(value) is list and value, "content: not an array")
    if value[0] == 0 and type(value[0]) is int:
        return Content(0, 0, tuple_(uint(), blob())(value)[1])
    if value[0] == 1 and type(value[0]) is int:
        return Content(1, 0, parse_references(tuple_(uint(), blob())(value)[1]))
    _, depth, raw = tuple_(uint(2, 2), uint(1, CONTENT_DEPTH_LIMIT), blob())(value)
    return Content(2, depth, parse_references(raw))


def references_of(content, fetch):
    """All (id, length) of the stream's chunks. `fetch(kind, id, length)` returns a checked chunk."""
    def below(references, depth):
        for chunk_id, length in references:
            if depth == 0:
                yield chunk_id, length
            else:
                yield from below(parse_references(fetch(TREE, chunk_id, length)), depth - 1)
    return below(content.value, content.depth)


def stream_of(content, kind, fetch):
    """The stream, piece by piece; `kind` is that of its chunks."""
    if content.form == 0:
        yield content.value
        return
    for chunk_id, length in references_of(content, fetch):
        plain = fetch(kind, chunk_id, length)
        need(len(plain) == length, f"content: chunk {chunk_id.hex()} has another length")
        yield plain


def parse_node(m):
    name = get(mapping(m), 0, blob(), "node")
    need(1 <= len(name) <= 4096 and b"/" not in name and b"\0" not in name and name not in (b".", b".."),
         f"node: the name {name[:64]!r} is not allowed")
    what = f"node {name[:64]!r}"
    u = uint(0, 0xFFFFFFFF)
    node = Node(
        name, get(m, 1, uint(1, 7), what), get(m, 2, uint(0, 0o7777), what), get(m, 3, u, what), get(m, 4, u, what),
        get(m, 5, time, what), *(get(m, key, of, what, optional=True) for key, of in (
            (6, time), (7, uint()), (8, uint()), (9, uint()), (10, uint(0, 2**63 - 1)), (11, parse_content), (12, blob()),
            (13, uint()), (14, array(tuple_(blob(), blob()), NODE_ARRAY_LIMIT)),
            (15, array(tuple_(uint(), uint(1)), NODE_ARRAY_LIMIT)))))
    for value, kinds, called in ((node.size, (FILE,), "size"), (node.content, (FILE, DIRECTORY), "content"),
                                 (node.target, (SYMLINK,), "target"), (node.rdev, (BLOCK, CHARACTER), "device number")):
        need((value is not None) == (node.kind in kinds), f"{what}: {called} missing, or of a kind that has none")
    need(node.target is None or (1 <= len(node.target) <= 65536 and b"\0" not in node.target),
         f"{what}: the target is not allowed")
    names = [name for name, _ in node.xattrs or []]
    need(all(name and b"\0" not in name for name in names), f"{what}: the name of an extended attribute is not allowed")
    need(all(a < b for a, b in zip(names, names[1:])), f"{what}: extended attributes are not in ascending order")
    need(node.extents is None or node.kind == FILE, f"{what}: extents without a file")
    if node.kind == FILE and node.content.form < 2:
        stream = len(node.content.value) if node.content.form == 0 else sum(length for _, length in node.content.value)
        wanted = node.size if node.extents is None else sum(length for _, length in node.extents)
        need(stream == wanted, f"{what}: content and size differ")
    if node.extents is not None:
        end = -1
        for offset, length in node.extents:
            need(offset > end, f"{what}: extents overlap, touch or are not in ascending order")
            end = offset + length
        need(end <= node.size, f"{what}: an extent reaches beyond the file's size")
    return node


def nodes_of(pieces):
    """The nodes of a directory, from its stream's chunks, each of which holds whole nodes."""
    last = None
    for piece in pieces:
        pos = 0
        while pos < len(piece):
            try:
                value, end = strict_cbor.decode_at(piece, pos)
            except Refused as error:
                raise Refused(f"node: {error}") from None
            need(end - pos <= NODE_LIMIT, "node: too long")
            node, pos = parse_node(value), end
            need(last is None or last < node.name, f"node {node.name[:64]!r}: not in ascending order of names")
            last = node.name
            yield node


def file_ranges(node, pieces):
    """(offset, bytes) to write into an empty file of the node's size; checks the stream's length."""
    extents = [(0, node.size)] if node.extents is None else node.extents
    extents = [extent for extent in extents if extent[1]]
    for piece in pieces:
        while piece:
            need(extents, f"file {node.name[:64]!r}: the content is longer than the size")
            (offset, length), extents = extents[0], extents[1:]
            yield offset, piece[:length]
            if len(piece) < length:
                extents.insert(0, (offset + len(piece), length - len(piece)))
            piece = piece[length:]
    need(not extents, f"file {node.name[:64]!r}: the content is shorter than the size")


# §10 -----------------------------------------------------------------------------------------------------------------

Snapshot = namedtuple("Snapshot", "time host paths root tags label parent previous number statistics problems program "
                      "users groups replaces first user started finished stack copied_from")
Stack = namedtuple("Stack", "name manifest parts facts")


def parse_stack(value):
    mapping(value)
    def field(key, of):
        return get(value, key, of, "stack of a snapshot")
    stack = Stack(field(0, text), field(1, text), field(2, array(tuple_(blob(), uint(), uint()), ARRAY_LIMIT)),
                  field(3, array(tuple_(text, text, text), ARRAY_LIMIT)))
    need(stack.name, "stack of a snapshot: its name is empty")
    need(all(path.startswith(b"/") for path, _, _ in stack.parts), "stack of a snapshot: a path is not absolute")
    return stack._replace(parts=[part for part in stack.parts if part[1] in (1, 2, 3)])


def open_snapshot(data, root_keys):
    """(session key record, snapshot, signer)"""
    record, m, client = open_envelope(data, SNAPSHOT, root_keys, "snapshot", CLIENT_KINDS)
    names = array(tuple_(uint(0, 0xFFFFFFFF), blob()), ARRAY_LIMIT)
    def value(key, of, optional=False):
        return get(m, key, of, "snapshot", optional)
    statistics = value(9, mapping)
    s = Snapshot(
        value(0, time), value(1, text), value(2, array(blob(), ARRAY_LIMIT)), value(3, parse_content), value(4, array(text, ARRAY_LIMIT)),
        value(5, text, True), value(6, blob(32), True), value(7, blob(32), True), value(8, uint(1, 1 << 63)),
        [get(statistics, key, uint(), "snapshot statistics") for key in range(11)],
        value(10, array(tuple_(blob(), text))), value(11, text), value(12, names), value(13, names),
        value(14, blob(32), True), value(15, blob(32), True), value(16, text, True), value(17, time, True),
        value(18, time, True), value(19, parse_stack, True), value(20, tuple_(blob(16), blob(32)), True))
    need(all(path.startswith(b"/") for path in s.paths), "snapshot: a path is not absolute")
    need(len(s.problems) <= 1000, "snapshot: more than 1000 problems")
    tags = [tag.encode() for tag in s.tags]
    need(all(a < b for a, b in zip(tags, tags[1:])), "snapshot: tags are not in ascending order")
    for numbers in ([n for n, _ in s.users], [n for n, _ in s.groups]):
        need(all(a < b for a, b in zip(numbers, numbers[1:])), "snapshot: user or group names are not in ascending order")
    if client:
        s = s._replace(host=client.host, replaces=None, first=None, copied_from=None)
    return record, s, client


Forgotten = namedtuple("Forgotten", "snapshot time why host program")


def open_forgotten(data, root_keys):
    need(len(data) <= OBJECT_LIMIT[FORGOTTEN], "record: too long")
    check_header(data, FORGOTTEN, "record")
    body, _ = check_auth(data, root_keys, PRIVATE_KINDS, "record")
    m = decode_map(body[8:], "record")
    return Forgotten(get(m, 0, blob(32), "record"), get(m, 1, time, "record"), get(m, 2, uint(1, 2), "record"),
                     get(m, 3, text, "record", optional=True), get(m, 4, text, "record", optional=True))


# §14 -----------------------------------------------------------------------------------------------------------------

Plan = namedtuple("Plan", "number time program condemned dropped")
State = namedtuple("State", "number state rescued")
Done = namedtuple("Done", "number time sessions records freed_bytes")


def ascend(ids):
    need(all(a < b for a, b in zip(ids, ids[1:])), "ids do not ascend")
    return ids


def joined_ids(length):
    def check(value):
        blob()(value)
        need(len(value) % length == 0, f"not ids of {length} bytes")
        return ascend([value[at:at + length] for at in range(0, len(value), length)])
    return check


def noticed(length):
    def check(value):
        found = array(tuple_(blob(length), time), ARRAY_LIMIT)(value)
        ascend([id_ for id_, _ in found])
        return found
    return check


def open_prune(data, kind, root_keys, what):
    """The decoded map of an object of prune, and the number of its plan."""
    need(len(data) <= OBJECT_LIMIT[kind], f"{what}: too long")
    check_header(data, kind, what)
    body, _ = check_auth(data, root_keys, PUBLIC_KINDS, what)
    m = decode_map(body[8:], what)
    return m, get(m, 0, uint(1), what)


def open_plan(data, root_keys):
    m, number = open_prune(data, PLAN, root_keys, "plan")
    return Plan(number, get(m, 1, time, "plan"), get(m, 2, text, "plan"), get(m, 3, joined_ids(32), "plan"),
                get(m, 4, joined_ids(32), "plan"))


def open_state(data, root_keys):
    m, number = open_prune(data, STATE, root_keys, "state")
    state = get(m, 1, uint(1, 2), "state")
    return State(number, state, get(m, 2, joined_ids(32), "state") if state == SWEEP else None)


def open_done(data, root_keys):
    m, number = open_prune(data, DONE, root_keys, "done")
    return Done(number, get(m, 1, time, "done"), get(m, 2, noticed(16), "done"), get(m, 3, noticed(32), "done"),
                get(m, 4, uint(), "done"))


# §15 -----------------------------------------------------------------------------------------------------------------

Proof = namedtuple("Proof", "snapshot root started finished host program result files bytes services problems")


def open_proof(data, root_keys):
    """(session key record, proof)"""
    record, m, _ = open_envelope(data, PROOF, root_keys, "proof")
    def value(key, of):
        return get(m, key, of, "proof")
    proof = Proof(value(0, blob(32)), value(1, parse_content), value(2, time), value(3, time), value(4, text), value(5, text),
                  value(6, uint(1, 2)), value(7, uint()), value(8, uint()),
                  value(9, array(tuple_(text, uint(1, 3)), ARRAY_LIMIT)), value(10, array(tuple_(blob(), text))))
    need(len(proof.problems) <= 1000, "proof: more than 1000 problems")
    return record, proof


# §16 -----------------------------------------------------------------------------------------------------------------

ClientEnd = namedtuple("ClientEnd", "client_id time sessions indexes")


def open_client(data, root_keys):
    """(session key record, client)"""
    record, m, _ = open_envelope(data, CLIENT, root_keys, "client")
    def value(key, of):
        return get(m, key, of, "client")
    client = Client(value(0, blob(16)), value(1, blob(16)), value(2, blob(32)), value(3, text), value(4, time), value(5, text))
    need(client.domain != bytes(16), "client: its domain is that of the full clients")
    need(client.host, "client: its host is empty")
    return record, client


def open_client_end(data, root_keys):
    """(session key record, end of a client)"""
    record, m, _ = open_envelope(data, CLIENT_END, root_keys, "end of a client")
    def value(key, of):
        return get(m, key, of, "end of a client")
    return record, ClientEnd(value(0, blob(16)), value(1, time), value(2, joined_ids(16)), value(3, joined_ids(32)))
