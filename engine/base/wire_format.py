"""The wire format of protocol buffers, as far as records and requests need it.

It is written here (https://protobuf.dev/programming-guides/encoding/), since importing TensorFlow, which
brings the definitions of records, takes 3 s.
"""

_LENGTH_DELIMITED = 2  # a wire type


def field(number: int, content: bytes) -> bytes:
    """A field of bytes, of text, of packed numbers, or of a message."""
    return varint(number << 3 | _LENGTH_DELIMITED) + varint(len(content)) + content


def varint(value: int) -> bytes:
    """A whole number, 0 or more, in groups of 7 bits, the lowest first."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
