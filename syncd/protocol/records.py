"""Pure. Decrypting into memory of our own: what pyOpenSSL's `recv_into` does, without a new buffer and a copy for each
record; and taking what is to be sent, without asking for more than there is.

OpenSSL gives at most one record of 16 KiB per call, so a gibibyte is 65,536 calls, and what stands around each of them
counts. pyOpenSSL allocates, decrypts, translates and copies; here its connection is asked directly through the binding
that it stands on. Errors are translated by pyOpenSSL itself.
"""

from __future__ import annotations

from typing import Any, Final

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL

RECORD_BYTES: Final = 16 * 1024
_lib: Final[Any] = Binding.lib
_ffi: Final[Any] = Binding.ffi
_PLACE: Final[Any] = _ffi.new("char **")


def decrypt_into(connection: SSL.Connection, target: memoryview) -> tuple[int, SSL.Error | None]:
    """Fill the front of `target` record by record until it is full or no more is here: (bytes, why it ended).

    The error belongs behind the bytes: WantReadError when everything that was received is decrypted, ZeroReturnError
    after the peer's goodbye, another one when the connection is broken.
    """
    ssl = connection._ssl  # no public way leads to it
    total, wanted = 0, len(target)
    with _ffi.from_buffer(target, require_writable=True) as place:
        while total < wanted:
            count = _lib.SSL_read(ssl, place + total, min(wanted - total, RECORD_BYTES))
            if count <= 0:
                return total, _error(connection, count)
            total += count
    return total, None


def produced(connection: SSL.Connection) -> bytes:
    """What OpenSSL wants sent, perhaps nothing. `bio_read` would want to be told how much that is at most, and give an
    exception for nothing, which is the usual answer."""
    count = _lib.BIO_get_mem_data(connection._from_ssl, _PLACE)
    return connection.bio_read(count) if count > 0 else b""


def produced_into(connection: SSL.Connection, place: memoryview) -> int:
    """The same into memory of our own, which spares a new buffer and a copy: how many bytes, 0 for nothing."""
    with _ffi.from_buffer(place, require_writable=True) as target:
        return max(0, int(_lib.BIO_read(connection._from_ssl, target, len(place))))


def _error(connection: SSL.Connection, result: int) -> SSL.Error:
    try:
        connection._raise_ssl_error(connection._ssl, result)
    except SSL.Error as error:
        return error
    raise AssertionError("OpenSSL read nothing and gave no reason")
