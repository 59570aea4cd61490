"""Whose a backup is: what a signature over its SHA256SUMS proves, and what this host remembers of what it made.

`SHA256SUMS` names the digest of every file of a backup, its manifest's among them, and that has the archives': so who
signs the one has signed all of it.
"""

import base64
import binascii
import re
from enum import StrEnum

from hiveden_backup.core.dataclass import dataclass

NAMESPACE = "hiveden-backup"
"""What our signatures are for: one that the same key made for something else does not count."""

_KEY = re.compile(rb"-----BEGIN OPENSSH PRIVATE KEY-----\n([A-Za-z0-9+/=\n]+)-----END OPENSSH PRIVATE KEY-----\n?")
_MAGIC = b"openssh-key-v1\0"
_GOOD = re.compile(rb'Good "hiveden-backup" signature with [A-Z0-9-]+ key (SHA256:[A-Za-z0-9+/]{43})\s*')


class Signed(StrEnum):
    """Whose a backup is. `unproven` is one with a signature that no `verify` has looked at yet."""

    HERE = "here"
    OTHER = "other"
    UNSIGNED = "unsigned"
    FORGED = "forged"
    UNPROVEN = "unproven"


@dataclass(frozen=True, slots=True)
class Signature:
    """What is known of whose a backup is. `fingerprint` is the key's that signed it, "" where none is known.

    `adopted` is one of an older version, that this host signed after it had verified it. `why` says why it is forged.
    """

    state: Signed
    fingerprint: str = ""
    adopted: bool = False
    why: str = ""

    def __str__(self) -> str:
        match self.state:
            case Signed.HERE:
                return "signed here, adopted" if self.adopted else "signed here"
            case Signed.OTHER:
                return f"signed by {self.fingerprint}"
            case Signed.UNPROVEN:
                return "signature not verified yet"
        return self.state.value

    @property
    def short(self) -> str:
        """In one word, for a column; a key's fingerprint where it is another host's."""
        match self.state:
            case Signed.OTHER:
                return self.fingerprint
            case Signed.UNSIGNED:
                return "no"
        return "adopted" if self.adopted else self.state.value

    def table(self) -> dict[str, str | bool | None]:
        """As listings print it."""
        return {"state": self.state.value, "fingerprint": self.fingerprint or None, "adopted": self.adopted}


class How(StrEnum):
    """How this host came to know of a backup.

    `making` is one that is about to be visible. `old` are those of a version that did not sign, `adopted` the ones of
    them that were verified since; `found` what was there when the job was taken over, or what a person accepted.
    """

    MAKING = "making"
    MADE = "made"
    OLD = "old"
    ADOPTED = "adopted"
    FOUND = "found"


@dataclass(frozen=True, slots=True)
class Known:
    """What this host remembers of a backup: the digest of its SHA256SUMS, and the key that signed that, "" for none.

    `going` is one that this program removes, or has removed.
    """

    sums: str
    key: str = ""
    how: How = How.MADE
    going: bool = False

    @property
    def trusted(self) -> bool:
        """Whether a run may build upon it: this host made it, or has had it since before there were signatures."""
        return self.how is not How.FOUND


@dataclass(frozen=True, slots=True)
class Lying:
    """What lies in a backup's directory: the digest of SHA256SUMS, "" where it cannot be read; is a signature there."""

    sums: str
    signed: bool


def judge(known: Known | None, lying: Lying, own: str, proof: str | None) -> Signature:
    """Whose a backup is. `own` is the fingerprint of this host's key, "" without one.

    `proof` is the fingerprint of the key whose signature lies there and fits, "" when it does not fit; None while
    nobody has looked: then what this host remembers counts.
    """
    remembered = known.key if known is not None else ""
    why = _forgery(known, lying, remembered, proof)
    if why:
        return Signature(Signed.FORGED, why=why)
    if not lying.signed:
        return Signature(Signed.UNSIGNED)
    signed_by = remembered or proof
    if not signed_by:
        return Signature(Signed.UNPROVEN)
    if signed_by != own:
        return Signature(Signed.OTHER, signed_by)
    return Signature(Signed.HERE, signed_by, adopted=known is not None and known.how is How.ADOPTED)


def _forgery(known: Known | None, lying: Lying, remembered: str, proof: str | None) -> str:
    if known is not None and known.sums != lying.sums:
        return "Its SHA256SUMS is not the one that this host knows"
    if not lying.signed:
        return "This host had signed it, and its signature is gone" if remembered else ""
    if proof is not None and not proof:
        return "Its signature does not fit its SHA256SUMS"
    if proof is not None and remembered and proof != remembered:
        return f"{proof} signed it, where {remembered} had"
    return ""


def signer(said: bytes) -> str:
    """The fingerprint in what `ssh-keygen -Y check-novalidate` prints of a signature that fits; "" for any other."""
    match = _GOOD.fullmatch(said)
    return match[1].decode() if match is not None else ""


def public_key(private: bytes) -> bytes:
    """The public key in a file of OpenSSH with a private one, as it is hashed. ValueError when it is no such file."""
    match = _KEY.fullmatch(private)
    if match is None:
        raise ValueError("It is no private key of OpenSSH")
    try:
        content = base64.b64decode(match[1])
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    if not content.startswith(_MAGIC):
        raise ValueError("It is no private key of OpenSSH")
    rest = content[len(_MAGIC) :]
    for _ in range(3):  # the cipher, how its key is derived, and with what
        _, rest = _text(rest)
    key, _ = _text(rest[4:])  # after the number of keys
    return key


def _text(content: bytes) -> tuple[bytes, bytes]:
    length = int.from_bytes(content[:4])
    text, rest = content[4 : 4 + length], content[4 + length :]
    if len(content) < 4 or len(text) != length:  # noqa: PLR2004 - the bytes of the length
        raise ValueError("It is cut short")
    return text, rest
