"""Encoding of every object of FORMAT.md with given randomness, for `generate.py`.

The builders check nothing: most negative vectors are well-formed in every respect but one, and are made with these
functions too, so that a reader can refuse them for that one reason only.
"""

import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "reader"))

from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt as xchacha_seal

from repo_format import EpochKeys, SessionKeys, derive, hash_, keyed, padme, u32, x25519_public


def cbor(value):
    """Deterministic CBOR (§1)."""
    if value is None:
        return b"\xf6"
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return cbor_head(0, value) if value >= 0 else cbor_head(1, -1 - value)
    if isinstance(value, bytes):
        return cbor_head(2, len(value)) + value
    if isinstance(value, str):
        return cbor_head(3, len(value.encode())) + value.encode()
    if isinstance(value, (list, tuple)):
        return cbor_head(4, len(value)) + b"".join(map(cbor, value))
    if isinstance(value, dict):
        pairs = sorted((cbor(k), cbor(v)) for k, v in value.items() if v is not None)
        return cbor_head(5, len(pairs)) + b"".join(k + v for k, v in pairs)
    raise TypeError(value)


def cbor_head(major, number):
    if number < 24:
        return bytes([major << 5 | number])
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << 8 * size:
            return bytes([major << 5 | info]) + number.to_bytes(size, "big")
    raise OverflowError(number)


def header(kind, version=1):
    return b"repo" + bytes([kind, version, 0, 0])


def seal(key, aad, plain, nonce):
    return nonce + xchacha_seal(plain, aad, nonce, key)


def xof(seed, length):
    """Test data that need not be stored."""
    return blake3(seed.encode()).digest(length)


def u24(number):
    return struct.pack("<I", number)[:3]


def record(root_keys, session_id, domain, dek, ephemeral_secret, epoch=0, seal_kind=1, ephemeral_public=None, recipient=None):
    """A session key record (§3). With `ephemeral_public` the shared secret is taken to be zero. `recipient`: the keys of
    the epoch that it is sealed for, if that is not `epoch`."""
    start = session_id + domain + u32(epoch) + bytes([seal_kind])
    recipient = (recipient or root_keys.epochs[epoch]).recipient_public
    if ephemeral_public is None:
        ephemeral_public = x25519_public(ephemeral_secret)
        shared = X25519PrivateKey.from_private_bytes(ephemeral_secret).exchange(X25519PublicKey.from_public_bytes(recipient))
    else:
        shared = bytes(32)
    key = derive("repo 2026 v1 seal x25519", shared + ephemeral_public + recipient)
    aad = b"repo v1 session key" + root_keys.repository_id + start
    return start + ephemeral_public + seal(key, aad, dek, bytes(24))[24:]


def root(repository_id, root, former, epoch, nonce, version=1, kind=16):
    """`roots/EPOCH`: the root secret before that of `epoch`."""
    start = header(kind, version)
    aad = start + repository_id + u32(epoch)
    return start + u32(epoch) + seal(EpochKeys(root, repository_id).former_root, aad, former, nonce)


def slot(repository_id, root, slot_id, kind, kdf, secret, salt, root_nonce, label_nonce, label, memory=0, passes=0,
         lanes=0, created=0, version=1, epoch=0, holds=0, credential=None, zero=0):
    label_key = EpochKeys(root, repository_id).label
    if kdf:
        okm = hash_secret_raw(secret, salt, time_cost=passes, memory_cost=memory, parallelism=lanes, hash_len=32,
                              type=Type.ID, version=0x13)
    else:
        okm = secret
    material = okm + repository_id + slot_id
    data = header(2, version) + slot_id + bytes([kind, kdf, holds, zero]) + struct.pack("<IIIIq", epoch, memory, passes, lanes, created)
    data += salt + derive("repo 2026 v1 slot commitment", material)
    data += seal(derive("repo 2026 v1 slot kek", material), repository_id + data, credential or root, root_nonce)
    padded = bytes([len(label.encode())]) + label.encode() + bytes(115 - len(label.encode()))
    return data + seal(label_key, repository_id + data, padded, label_nonce)


def sign(seed, message):
    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def auth(root_keys, data, kind=1, client=None):
    """The object with its auth (§6); other kinds than 1, 2 and 3 are made as 1 is."""
    end = bytes([kind])
    if kind == 2:
        data += client.id
        return data + sign(client.seed, data + end) + end
    if kind == 3:
        data += sign(root_keys.now.signature_seed, data + end)
    return with_mac(root_keys, data, kind)


def with_mac(root_keys, data, kind):
    end = bytes([kind])
    return data + keyed(root_keys.now.control, data + end) + end


def envelope(root_keys, kind, session_record, dek, nonce, plain, version=1, auth_kind=1, client=None):
    start = header(kind, version)
    aad = start + root_keys.repository_id + session_record
    sealed = seal(SessionKeys(dek, session_record[:16]).object, aad, plain, nonce)
    return auth(root_keys, start + session_record + sealed, auth_kind, client)


def plain_object(kind, auth_kind):
    """A builder of objects that are `header ‖ CBOR map ‖ auth`."""
    def build(root_keys, map_, version=1, auth_kind=auth_kind, client=None):
        return auth(root_keys, header(kind, version) + (map_ if isinstance(map_, bytes) else cbor(map_)), auth_kind, client)
    return build


config, register, forgotten = plain_object(1, 3), plain_object(7, 3), plain_object(11, 1)
plan, state, done = plain_object(8, 3), plain_object(9, 3), plain_object(10, 3)


def frame(plain):
    data = u32(len(plain)) + plain
    return data + bytes(-len(data) % 4096)


def row_parts(keys, kind, chunks):
    lengths = b"".join(u24(len(chunk)) for chunk in chunks)
    ids = b"".join(keyed(keys.data_id if kind == 1 else keys.tree_id, chunk) for chunk in chunks)
    return lengths, ids


def segment(repository_id, session_keys, kind, suite, compression, plain_length, lengths, ids, payload, nonce=None,
            random=None):
    """(sealed segment, aad, nonce); the payload is compressed already, or not, as `compression` says."""
    aad = (b"repo v1 segment" + repository_id + session_keys.session_id + bytes([kind, suite, compression])
           + u32(plain_length) + hash_(lengths + ids))
    if nonce is None:
        nonce = keyed(session_keys.nonce, random + aad + u32(len(payload)))[:24]
    if suite == 1:
        return seal(session_keys.segment, aad, payload, nonce), aad, nonce
    return nonce + AESGCM(keyed(session_keys.segment, nonce)).encrypt(bytes(12), payload, aad), aad, nonce


def footer(root_keys, domain, map_, nonce, epoch=0):
    aad = b"repo v1 footer" + root_keys.repository_id + domain + u32(epoch)
    return seal(root_keys.domain(domain).index, aad, frame(cbor(map_)), nonce)


def pack(segments, sealed_footer, domain, padding_of, epoch=0):
    """(pack, padding); `padding_of(length)` gives the random bytes."""
    data = header(3) + b"".join(segments)
    length = len(data) + len(sealed_footer)
    padding = padding_of(padme(length) - length)
    return data + padding + sealed_footer + domain + u32(epoch) + u32(len(sealed_footer)) + b"pend", padding


def index(root_keys, domain, map_, nonce, version=1, epoch=0, auth_kind=None, client=None):
    """The kind of auth is what is right for whoever makes it and for the domain (FORMAT.md §6), if none is given."""
    usual = 2 if client else 3 if any(domain) else 1
    start = header(4, version)
    aad = start + root_keys.repository_id + domain + u32(epoch)
    framed = map_ if isinstance(map_, bytes) else frame(cbor(map_))
    sealed = seal(root_keys.domain(domain).index, aad, framed, nonce)
    return auth(root_keys, start + domain + u32(epoch) + sealed, usual if auth_kind is None else auth_kind, client)


def raw_zstd(blocks, content_size=None):
    """A zstd frame made by hand from raw blocks (bytes) and RLE blocks ((byte, count)), so that it depends on no
    version of a compressor."""
    if content_size is None:
        data = b"\x28\xb5\x2f\xfd" + bytes([0x00, 0x58])  # no content size; a window of 2 MiB
    else:
        data = b"\x28\xb5\x2f\xfd" + bytes([0xA0]) + u32(content_size)  # single segment, four bytes of content size
    for number, block in enumerate(blocks):
        last = number == len(blocks) - 1
        if isinstance(block, bytes):
            data += u24(len(block) << 3 | last) + block
        else:
            data += u24(block[1] << 3 | 1 << 1 | last) + block[0]
    return data
