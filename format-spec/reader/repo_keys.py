"""Keys, roots, key slots and the authentication of objects (FORMAT.md §1, §3, §5, §6), and the checks that all need.

Section numbers (§) are those of FORMAT.md. Every function raises `Refused` on anything that the format forbids.
"""

import struct
from collections import namedtuple

from argon2.exceptions import HashingError
from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as xchacha_open
from nacl.exceptions import CryptoError

import strict_cbor
from strict_cbor import Refused

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
CONFIG, SLOT, PACK, INDEX, SNAPSHOT, INTENT, REGISTER = 1, 2, 3, 4, 5, 6, 7
PLAN, STATE, DONE, FORGOTTEN = 8, 9, 10, 11
PROOF, CLIENT, CLIENT_END, ROOT = 13, 14, 15, 16
DATA, TREE = 1, 2
FILE, DIRECTORY, SYMLINK, BLOCK, CHARACTER, FIFO, SOCKET = 1, 2, 3, 4, 5, 6, 7
COMMITTED, REVOKED = 1, 2
SWEEP, CANCELLED = 1, 2

# §11, by object kind
OBJECT_LIMIT = {**dict.fromkeys((CONFIG, REGISTER, FORGOTTEN, SLOT, ROOT), 64 * KIB),
                **dict.fromkeys((SNAPSHOT, INTENT, PROOF, CLIENT, CLIENT_END), 16 * MIB),
                **dict.fromkeys((INDEX, PLAN, STATE, DONE), 64 * MIB), PACK: GIB}
FOOTER_LIMIT, PLAINTEXT_LIMIT, CHUNK_LIMIT, NODE_LIMIT = 64 * MIB, 16 * MIB, 8 * MIB, 4 * MIB
SEALED_LIMIT = 16 * MIB + 64 * KIB + 40
FEATURES_LIMIT, NODE_ARRAY_LIMIT, RECORDS_LIMIT, ARRAY_LIMIT = 256, 1 << 16, 1 << 16, 1 << 20
CONTENT_DEPTH_LIMIT, DIRECTORY_DEPTH_LIMIT = 4, 4096
TAIL_LENGTH, RECORD_LENGTH, SEAL_OVERHEAD, ROOT_LENGTH = 28, 117, 40, 84


def need(condition, message):
    if not condition:
        raise Refused(message)


def u32(number):
    return struct.pack("<I", number)


# §1 ------------------------------------------------------------------------------------------------------------------


def hash_(data):
    return blake3(data).digest()


def keyed(key, data):
    return blake3(data, key=key).digest()


def derive(context, material, length=32):
    return blake3(material, derive_key_context=context).digest(length)


def unseal(key, aad, sealed, what):
    need(len(sealed) >= SEAL_OVERHEAD, f"{what}: too short")
    try:
        return xchacha_open(bytes(sealed[24:]), aad, bytes(sealed[:24]), key)
    except CryptoError:
        raise Refused(f"{what}: does not decrypt (damaged, forged or another key)") from None


def header(kind):
    return b"repo" + bytes([kind, 1, 0, 0])


def check_header(data, kind, what):
    need(len(data) >= 8 and data[:4] == b"repo", f"{what}: not an object of a repository")
    need(data[5] == 1, f"{what}: format version {data[5]} is not known to this reader")
    need(data[4] == kind, f"{what}: object kind {data[4]} instead of {kind}")
    need(data[6:8] == b"\0\0", f"{what}: header bytes 6 and 7 are not zero")


# Typed access to decoded CBOR: `get(map, key, type)`. A type is a function that returns the value or refuses it.


def uint(low=0, high=(1 << 64) - 1):
    def check(value):
        need(type(value) is int and low <= value <= high, f"not an integer from {low} to {high}")
        return value
    return check


def blob(length=None):
    def check(value):
        need(type(value) is bytes, "not a byte string")
        need(length is None or len(value) == length, f"not {length} bytes")
        return value
    return check


def text(value):
    need(type(value) is str, "not text")
    return value


def mapping(value):
    need(type(value) is dict, "not a map")
    return value


def array(of, limit=None):
    def check(value):
        need(type(value) is list, "not an array")
        need(limit is None or len(value) <= limit, f"an array of more than {limit}")
        return [of(element) for element in value]
    return check


def tuple_(*types):
    """An array with these elements; §1: more elements are ignored."""
    def check(value):
        need(type(value) is list and len(value) >= len(types), f"not an array of {len(types)}")
        return tuple(of(element) for of, element in zip(types, value))
    return check


def time(value):
    return tuple_(uint(-(1 << 63), (1 << 63) - 1), uint(0, 10**9 - 1))(value)


def get(map_, key, of, what, optional=False):
    if key not in map_:
        need(optional, f"{what}: key {key} is missing")
        return None
    try:
        return of(map_[key])
    except Refused as error:
        raise Refused(f"{what}: key {key}: {error}") from None


def decode_map(data, what):
    try:
        return mapping(strict_cbor.decode(data))
    except Refused as error:
        raise Refused(f"{what}: {error}") from None


# §3 ------------------------------------------------------------------------------------------------------------------


class DomainKeys:
    """What a domain secret gives: all that a write-only client can derive."""

    def __init__(self, secret, repository_id, domain):
        self.domain, self.secret = domain, secret
        material = secret + repository_id + domain
        self.data_id, self.tree_id, self.tree_chunker, self.index = (
            derive("repo 2026 v1 domain " + name, material) for name in ("data id", "tree id", "tree chunker", "index"))
        self.gear_table = derive("repo 2026 v1 domain data chunker", material, 2048)

    def chunk_id(self, kind, plain):
        return keyed(self.data_id if kind == DATA else self.tree_id, plain)


class EpochKeys:
    """What the root secret of one epoch gives, without the domains."""

    def __init__(self, root, repository_id):
        self.root, self.material = root, root + repository_id
        self.control = derive("repo 2026 v1 control", self.material)
        self.recipient_secret = derive("repo 2026 v1 recipient x25519", self.material)
        self.recipient_public = x25519_public(self.recipient_secret)
        self.signature_seed = derive("repo 2026 v1 signature ed25519", self.material)
        self.signature_public = ed25519_public(self.signature_seed)
        self.label = derive("repo 2026 v1 slot label", self.material)
        self.former_root = derive("repo 2026 v1 former root", self.material)


class RootKeys:
    """All that a full client holds: the keys of every epoch up to that of `root`, and the clients whose signatures
    count. `former` are the root secrets before it, that of epoch 0 first."""

    def __init__(self, root, repository_id, former=()):
        self.repository_id = repository_id
        self.epochs = [EpochKeys(secret, repository_id) for secret in (*former, root)]
        self.clients = {}  # client id -> `Client`
        self.domains = {}

    @property
    def now(self):
        return self.epochs[-1]

    def domain(self, domain):
        if domain not in self.domains:
            secret = derive("repo 2026 v1 domain secret", self.epochs[0].material + domain)
            self.domains[domain] = DomainKeys(secret, self.repository_id, domain)
        return self.domains[domain]


class SessionKeys:
    def __init__(self, dek, session_id):
        self.session_id = session_id
        self.segment, self.nonce, self.object = (
            derive("repo 2026 v1 session " + name, dek + session_id) for name in ("segment", "nonce", "object"))


def x25519_public(secret):
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def ed25519_public(seed):
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def signed_by(public, signature, message):
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        return True
    except (InvalidSignature, ValueError):  # the latter: no public key at all
        return False


def open_root(data, epoch, root, repository_id):
    """The root secret of `epoch` - 1 from `roots/EPOCH`, `root` being that of `epoch`."""
    need(len(data) <= OBJECT_LIMIT[ROOT], "root: too long")
    check_header(data, ROOT, "root")
    need(len(data) == ROOT_LENGTH, f"root: not {ROOT_LENGTH} bytes")
    need(epoch >= 1 and data[8:12] == u32(epoch), "root: of another epoch than its name")
    aad = data[:8] + repository_id + data[8:12]
    return unseal(EpochKeys(root, repository_id).former_root, aad, data[12:], "root")


Record = namedtuple("Record", "session_id domain epoch seal_kind ephemeral wrapped raw")


def parse_record(raw, what="session key record"):
    need(len(raw) == RECORD_LENGTH, f"{what}: not {RECORD_LENGTH} bytes")
    raw = bytes(raw)
    record = Record(raw[:16], raw[16:32], int.from_bytes(raw[32:36], "little"), raw[36], raw[37:69], raw[69:], raw)
    need(record.seal_kind == 1, f"{what}: seal kind {record.seal_kind} is not known")
    return record


def open_record(record, root_keys):
    """The session data key (DEK)."""
    need(record.epoch < len(root_keys.epochs), f"session key record: epoch {record.epoch} is not known")
    epoch_keys = root_keys.epochs[record.epoch]
    try:
        shared = X25519PrivateKey.from_private_bytes(epoch_keys.recipient_secret).exchange(
            X25519PublicKey.from_public_bytes(record.ephemeral))
    except ValueError:  # the library refuses an all-zero result by itself
        shared = bytes(32)
    need(shared != bytes(32), "session key record: the shared secret is zero")
    key = derive("repo 2026 v1 seal x25519", shared + record.ephemeral + epoch_keys.recipient_public)
    aad = b"repo v1 session key" + root_keys.repository_id + record.raw[:37]
    return unseal(key, aad, bytes(24) + record.wrapped, "session key record")


# §5 ------------------------------------------------------------------------------------------------------------------

PASSWORD, KEY_FILE, RECOVERY = 1, 2, 3
HOLDS_ROOT, HOLDS_CREDENTIAL = 0, 1
ROOT_SLOT_LENGTH, CREDENTIAL_SLOT_LENGTH, LABEL_SEAL_LENGTH = 344, 472, 156  # the second at epoch 0
EPOCH_LIMIT = 1024  # §11
Slot = namedtuple("Slot", "slot_id kind kdf holds epoch memory passes lanes created salt commitment raw")
Credential = namedtuple("Credential", "client_id domain domain_secret signature_seed recipient_public signature_publics")
Opened = namedtuple("Opened", "root label credential")  # the first two, or the last


def parse_slot(raw):
    need(len(raw) <= OBJECT_LIMIT[SLOT], "key slot: too long")
    check_header(raw, SLOT, "key slot")
    need(len(raw) >= ROOT_SLOT_LENGTH, "key slot: too short")
    slot_id, kind, kdf, holds, zero, epoch, memory, passes, lanes, created, salt, commitment = struct.unpack_from(
        "<16sBBBBIIIIq32s32s", raw, 8)
    need(kind in (PASSWORD, KEY_FILE, RECOVERY), f"key slot: kind {kind} is not known")
    need(kdf in (0, 1), f"key slot: KDF {kdf} is not known")
    need(holds in (HOLDS_ROOT, HOLDS_CREDENTIAL), f"key slot: holds {holds}, which is not known")
    need(epoch <= EPOCH_LIMIT, f"key slot: epoch {epoch} is outside the limits")
    length = ROOT_SLOT_LENGTH if holds == HOLDS_ROOT else CREDENTIAL_SLOT_LENGTH + 32 * epoch
    need(len(raw) == length, "key slot: its length is not that of what it holds")
    need(zero == 0, "key slot: byte 27 is not zero")
    if kdf == 0:
        need(kind != PASSWORD, "key slot: a password without a KDF")
        need(memory == passes == lanes == 0, "key slot: Argon2id parameters without a KDF")
    else:
        need(64 * KIB <= memory <= 4 * MIB, f"key slot: Argon2id memory of {memory} KiB is outside the limits")
        need(1 <= passes <= 16, f"key slot: {passes} Argon2id passes are outside the limits")
        need(1 <= lanes <= 16, f"key slot: {lanes} Argon2id lanes are outside the limits")
        need(memory * passes <= 16 * MIB, "key slot: Argon2id memory times passes is outside the limits")
    return Slot(slot_id, kind, kdf, holds, epoch, memory, passes, lanes, created, salt, commitment, bytes(raw))


def open_slot(slot, repository_id, secret):
    """What the slot holds, or None if the secret is not that of this slot. Of a credential's slot the label stays
    closed: its key is the full clients' (`open_label`)."""
    if slot.kdf == 0:
        need(len(secret) == 32, "key slot: the secret is not 32 bytes")
        okm = secret
    else:
        try:
            okm = hash_secret_raw(secret, slot.salt, time_cost=slot.passes, memory_cost=slot.memory,
                                  parallelism=slot.lanes, hash_len=32, type=Type.ID, version=0x13)
        except HashingError as error:
            raise Refused(f"key slot: Argon2id: {error}") from None
    material = okm + repository_id + slot.slot_id
    if derive("repo 2026 v1 slot commitment", material) != slot.commitment:
        return None
    kek = derive("repo 2026 v1 slot kek", material)
    held = unseal(kek, repository_id + slot.raw[:116], slot.raw[116 : held_end(slot)], "key slot")
    if slot.holds == HOLDS_CREDENTIAL:
        return Opened(None, None, parse_credential(slot, held))
    return Opened(held, open_label(slot, EpochKeys(held, repository_id), repository_id), None)


def parse_credential(slot, held):
    """A credential (§16). `parse_slot` has seen to it that there is one public key of signatures an epoch."""
    *fields, publics = struct.unpack(f"<16s16s32s32s32s{32 * (slot.epoch + 1)}s", held)
    credential = Credential(*fields, [publics[at : at + 32] for at in range(0, len(publics), 32)])
    need(credential.client_id == slot.slot_id, "key slot: holds the credential of another client than its id says")
    return credential


def held_end(slot):
    return len(slot.raw) - LABEL_SEAL_LENGTH


def open_label(slot, epoch_keys, repository_id):
    """The label of a slot, by the keys of the slot's epoch."""
    end = held_end(slot)
    label = unseal(epoch_keys.label, repository_id + slot.raw[:end], slot.raw[end:], "key slot label")
    need(label[0] <= 115 and not any(label[1 + label[0] :]), "key slot label: malformed")
    try:
        return label[1 : 1 + label[0]].decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("key slot label: not UTF-8") from None


def parse_key_file(raw):
    line = raw.strip(b"\t\n\f\r ")
    digits = line[len(b"repo-key-1 "):]
    need(line.startswith(b"repo-key-1 ") and len(digits) == 64 and all(d in b"0123456789abcdef" for d in digits),
         "not a key file")
    return bytes.fromhex(digits.decode())


def parse_recovery_code(code):
    try:
        from mnemonic import Mnemonic
    except ImportError:
        raise Refused("recovery codes need the Python package `mnemonic`") from None
    words = code.lower().split()
    need(len(words) == 24, "a recovery code has 24 words")
    try:
        return bytes(Mnemonic("english").to_entropy(words))
    except (ValueError, LookupError):
        raise Refused("not a recovery code (a word or the checksum is wrong)") from None


# §6: auth ------------------------------------------------------------------------------------------------------------

BY_MAC, BY_CLIENT, BY_BOTH = 1, 2, 3
AUTH_LENGTHS = {BY_MAC: 33, BY_CLIENT: 81, BY_BOTH: 97}
# Which kinds are right where: of what only full clients check, of what all check, and those that clients sign, too.
PRIVATE_KINDS, PUBLIC_KINDS = (BY_MAC, BY_BOTH), (BY_BOTH,)
CLIENT_KINDS, REGISTER_KINDS = (BY_MAC, BY_BOTH, BY_CLIENT), (BY_BOTH, BY_CLIENT)

Client = namedtuple("Client", "client_id domain signature_public host created label")


def without_auth(data, kinds, what):
    """(the object without its auth, the kind of that)"""
    need(data, f"{what}: too short")
    kind = data[-1]
    need(kind in AUTH_LENGTHS, f"{what}: auth kind {kind} is not known")
    need(kind in kinds, f"{what}: auth kind {kind} is not right for this object")
    need(len(data) >= 8 + AUTH_LENGTHS[kind], f"{what}: too short")
    return data[: -AUTH_LENGTHS[kind]], kind


def check_auth(data, root_keys, kinds, what):
    """(the object without its auth, the signer), the signer being None for full clients, or a `Client`."""
    body, kind = without_auth(data, kinds, what)
    if kind == BY_CLIENT:
        client_id = bytes(data[-81:-65])
        need(client_id in root_keys.clients, f"{what}: signed by client {client_id.hex()}, of which there is no record")
        check_client_signature(data, root_keys.clients[client_id], what)
        return body, root_keys.clients[client_id]
    # Kind 3 has its signature within what the MAC covers; who has the control key need not check it.
    covered = data[:-33] + data[-1:]
    need(any(keyed(keys.control, covered) == data[-33:-1] for keys in root_keys.epochs), f"{what}: the authentication is wrong")
    return body, None


def check_client_signature(data, client, what):
    need(data[-81:-65] == client.client_id, f"{what}: signed by another client")
    need(signed_by(client.signature_public, data[-65:-1], data[:-65] + data[-1:]), f"{what}: the signature is wrong")


def check_auth_as_client(data, signature_publics, client, what):
    """The same for a write-only client, which has no control key: it checks the full clients' signature, which is right
    if it is by the key of any epoch, and its own."""
    body, kind = without_auth(data, REGISTER_KINDS, what)
    if kind == BY_CLIENT:
        check_client_signature(data, client, what)
        return body
    need(is_signed_by_full_clients(data, signature_publics), f"{what}: the signature is wrong")
    return body


def is_signed_by_full_clients(data, signature_publics):
    """Whether the signature in auth of kind 3 is right by one of these keys."""
    return any(signed_by(public, data[-97:-33], data[:-97] + data[-1:]) for public in signature_publics)


def check_domain(client, domain, what):
    """What a write-only client signs is of its own domain."""
    need(client is None or client.domain == domain, f"{what}: of a write-only client, in another domain than its own")
