"""A strict decoder for the CBOR of FORMAT.md §1.

It takes exactly one encoding of every value: definite lengths, shortest integers, unsigned map keys in ascending
order without repetition, valid UTF-8. Floats and tags do not occur in the format and are refused.
"""

MAX_NESTING = 32  # arrays and maps around a value; the deepest structure of the format has far fewer


class Refused(Exception):
    """The input is not what the format allows. The message is meant for the user."""


class Truncated(Refused):
    """The input ended inside a value: more bytes could make it valid."""


def decode(data):
    """The one value that `data` is."""
    value, end = decode_at(data, 0)
    if end != len(data):
        raise Refused("CBOR: bytes after the value")
    return value


def decode_at(data, pos, nesting=0):
    """The value that begins at `pos`, and the position after it."""
    if nesting > MAX_NESTING:
        raise Refused("CBOR: nested too deeply")
    if pos >= len(data):
        raise Truncated("CBOR: truncated")
    major, info = data[pos] >> 5, data[pos] & 31
    pos += 1
    if major == 7:
        if info in (20, 21, 22):
            return (False, True, None)[info - 20], pos
        raise Refused("CBOR: floats and other simple values are not allowed")
    if info < 24:
        number = info
    elif info < 28:
        size = 1 << (info - 24)
        if pos + size > len(data):
            raise Truncated("CBOR: truncated")
        number = int.from_bytes(data[pos : pos + size], "big")
        pos += size
        if number < (24, 1 << 8, 1 << 16, 1 << 32)[info - 24]:
            raise Refused("CBOR: an integer is not in its shortest form")
    else:
        raise Refused("CBOR: indefinite length or reserved value")
    if major == 0:
        return number, pos
    if major == 1:
        return -1 - number, pos
    if major in (2, 3):
        if number > len(data) - pos:
            raise Truncated("CBOR: truncated")
        raw = bytes(data[pos : pos + number])
        pos += number
        if major == 2:
            return raw, pos
        try:
            return raw.decode("utf-8"), pos
        except UnicodeDecodeError:
            raise Refused("CBOR: text is not UTF-8") from None
    if major == 4:
        # Every element has at least one byte, so a count beyond the rest need not be tried.
        if number > len(data) - pos:
            raise Truncated("CBOR: truncated")
        array = []
        for _ in range(number):
            value, pos = decode_at(data, pos, nesting + 1)
            array.append(value)
        return array, pos
    if major == 5:
        if 2 * number > len(data) - pos:
            raise Truncated("CBOR: truncated")
        result, last = {}, None
        for _ in range(number):
            if pos < len(data) and data[pos] >> 5 != 0:
                raise Refused("CBOR: a map key is not an unsigned integer")
            key, pos = decode_at(data, pos, nesting + 1)
            # RFC 8949 §4.2.1 orders keys by their encoded bytes; for unsigned keys this is the order of their values.
            if last is not None and key <= last:
                raise Refused("CBOR: map keys are not in ascending order")
            last = key
            result[key], pos = decode_at(data, pos, nesting + 1)
        return result, pos
    raise Refused("CBOR: tags are not allowed")
