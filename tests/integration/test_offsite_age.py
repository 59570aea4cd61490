"""Encryption by the real age: there and back, for several keys, and a sentence for whoever has the wrong one."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hiveden_backup.core.errors import CorruptError, DeniedError, NotFoundError, UnfitError, UnreachableError
from hiveden_backup.host.disk.durable import opened
from hiveden_backup.host.offsite import age

CONTENT = os.urandom(300_000)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("one", "two"):
        subprocess.run(("age-keygen", "-o", folder / name), check=True, capture_output=True)
    return folder / "one", folder / "two"


def encrypted(target: Path, recipients: tuple[str, ...], pieces: Iterator[bytes] | None = None) -> Path:
    with target.open("wb") as file:
        age.encrypt(pieces or iter([CONTENT[:100_000], CONTENT[100_000:]]), recipients, file.fileno())
    return target


def decrypted(source: Path, identity: Path | None, target: Path, recipients: tuple[str, ...] = ()) -> bytes:
    with opened(source) as file, target.open("wb") as out:
        age.decrypt(file, identity, out.fileno(), recipients)
    return target.read_bytes()


def test_each_of_the_keys_opens_it(keys: tuple[Path, Path], tmp_path: Path) -> None:
    recipients = tuple(each for key in keys for each in age.public_keys(key))
    assert len(recipients) == 2
    source = encrypted(tmp_path / "x.age", recipients)
    assert source.stat().st_size > len(CONTENT)
    for key in keys:
        assert decrypted(source, key, tmp_path / key.name) == CONTENT


def test_nothing_is_encrypted_too(keys: tuple[Path, Path], tmp_path: Path) -> None:
    source = encrypted(tmp_path / "x.age", age.public_keys(keys[0]), iter([b""]))
    assert decrypted(source, keys[0], tmp_path / "x") == b""


def test_a_key_of_ssh_opens_it(tmp_path: Path) -> None:
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"), check=True)
    source = encrypted(tmp_path / "x.age", ((tmp_path / "key.pub").read_text().strip(),))
    assert decrypted(source, tmp_path / "key", tmp_path / "x") == CONTENT


def test_the_wrong_key_is_told_which_one_is_wanted(keys: tuple[Path, Path], tmp_path: Path) -> None:
    wanted = age.public_keys(keys[0])
    source = encrypted(tmp_path / "x.age", wanted)
    with pytest.raises(DeniedError, match=wanted[0]) as caught:
        decrypted(source, keys[1], tmp_path / "x", wanted)
    assert "does not open this backup" in str(caught.value)


def test_without_a_key_it_is_told_which_one_is_wanted(keys: tuple[Path, Path], tmp_path: Path) -> None:
    wanted = age.public_keys(keys[0])
    source = encrypted(tmp_path / "x.age", wanted)
    for identity in (None, tmp_path / "nothing", tmp_path):
        with pytest.raises(NotFoundError, match=wanted[0]):
            decrypted(source, identity, tmp_path / "x", wanted)


def test_a_key_that_is_none_is_named(keys: tuple[Path, Path], tmp_path: Path) -> None:
    source = encrypted(tmp_path / "x.age", age.public_keys(keys[0]))
    (tmp_path / "key").write_text("nonsense\n")
    with pytest.raises(DeniedError, match="cannot be used"):
        decrypted(source, tmp_path / "key", tmp_path / "x")
    with pytest.raises(UnfitError, match="no key of age"):
        age.public_keys(tmp_path / "key")


@pytest.mark.parametrize("place", [0, 30, 250, 100_000, -1])
def test_damage_is_seen(keys: tuple[Path, Path], tmp_path: Path, place: int) -> None:
    source = encrypted(tmp_path / "x.age", age.public_keys(keys[0]))
    content = bytearray(source.read_bytes())
    content[place] ^= 1
    source.write_bytes(content)
    with pytest.raises((CorruptError, DeniedError)):
        decrypted(source, keys[0], tmp_path / "x")


def test_what_is_cut_short_is_seen(keys: tuple[Path, Path], tmp_path: Path) -> None:
    source = encrypted(tmp_path / "x.age", age.public_keys(keys[0]))
    os.truncate(source, 200_000)
    with pytest.raises(CorruptError):
        decrypted(source, keys[0], tmp_path / "x")


def test_a_recipient_that_age_does_not_know_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match="none that age knows"):
        encrypted(tmp_path / "x.age", ("age1nonsense",))
    with pytest.raises(UnfitError, match="none that age knows"):
        age.insist_on(("age1nonsense",))


def test_good_recipients_are_taken(keys: tuple[Path, Path]) -> None:
    age.insist_on(age.public_keys(keys[0]))


def test_a_machine_without_age_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnreachableError, match="apt-get install age"):
        age.encryptor(("age1x",))


def test_what_fails_while_it_is_read_is_no_short_file(keys: tuple[Path, Path], tmp_path: Path) -> None:
    def failing() -> Iterator[bytes]:
        yield CONTENT
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        encrypted(tmp_path / "x.age", age.public_keys(keys[0]), failing())
