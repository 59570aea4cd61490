"""A site with an offsite: what lies there, put together by stock tools alone, held against what is here."""

import hashlib
import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.job import Done, Site


@dataclass(frozen=True)
class Key:
    """A key of age in a file, and its public part."""

    path: Path
    public: str


def new_key(path: Path) -> Key:
    subprocess.run(("age-keygen", "-o", path), check=True, capture_output=True)
    return Key(path, re.findall(r"public key: (age1\w+)", path.read_text())[0])


@dataclass(frozen=True)
class Home:
    """A site whose job `app` goes to the directory `there`, by the name `usb`."""

    site: Site
    there: Path
    key: Key

    @property
    def host(self) -> Path:
        """This host's folder; one that is not there while it has none."""
        return next((each for each in self.there.iterdir() if not each.name.startswith(".")), self.there / "none")

    @property
    def objects(self) -> dict[str, bytes]:
        """All objects of the job, by their names in its folder."""
        top = self.host / "app"
        return {str(path.relative_to(top)): path.read_bytes() for path in sorted(top.rglob("*")) if path.is_file()}

    def push(self, *arguments: str, failpoint: str = "") -> Done:
        return self.site.run("offsite", "push", *arguments, failpoint=failpoint)

    def pushed(self) -> Any:
        """What a push that succeeds says of its one job."""
        (found,) = self.push("--json").succeeded().json
        return found

    def listed(self) -> list[str]:
        """The backups that are complete there, as the program says."""
        return [row["id"] for row in self.site.run("offsite", "list", "--json").succeeded().json]

    def backup(self) -> str:
        """A new backup; its id."""
        return self.site.run("run", "app").succeeded().out.strip()

    def check(self) -> list[str]:
        """What lies there is whole and says what is here, as far as it is here; the backups that are complete there."""
        return check_there(self.host / "app", self.key, self.site)


def configured(site: Site, there: Path, key: Key, job: Mapping[str, Any] | None = None, **offsite: Any) -> Home:
    """The site with its job and its offsite configured."""
    there.mkdir(exist_ok=True)
    table = {"remote": str(there), "recipients": [key.public], "slice": "1MiB", **offsite}
    site.configure({"app": {"paths": [str(site.data)], **(job or {})}}, offsite={"usb": table})
    return Home(site, there, key)


def check_there(top: Path, key: Key, site: Site) -> list[str]:
    """By sha256sum, age and nothing of the program's."""
    archives = {}
    for sums in (top / "archives").glob("*.sums"):
        _check_sums(sums, site)
        (path, size, digest) = re.findall(r"^# archive (\S+) (\d+) (\w+)$", sums.read_text(), re.MULTILINE)[0]
        content = b"".join(_decrypted(sums.parent / name, key) for name in _names(sums))
        assert (len(content), hashlib.sha256(content).hexdigest()) == (int(size), digest)
        archives[path] = (size, digest)
        local = site.job() / path
        assert not local.is_file() or local.read_bytes() == content
    found = []
    for sums in sorted(top.glob("*/SHA256SUMS"), reverse=True):
        _check_sums(sums, site)
        needs = re.findall(r"^# needs (\S+) (\d+) (\w+)$", sums.read_text(), re.MULTILINE)
        assert all(archives.get(path) == (size, digest) for path, size, digest in needs), sums
        files = re.findall(r"^# file (\S+) (\d+) (\w+)$", sums.read_text(), re.MULTILINE)
        local = site.job() / sums.parent.name
        if local.is_dir():
            assert "".join(f"{digest}  {name}\n" for name, _, digest in files) == (local / "SHA256SUMS").read_text()
        for name, size, digest in files:
            pieces = [each for each in _names(sums) if re.fullmatch(rf"{re.escape(name)}(\.\d{{4}})?(\.age)?", each)]
            content = b"".join(_decrypted(sums.parent / each, key) for each in pieces)
            assert (len(content), hashlib.sha256(content).hexdigest()) == (int(size), digest)
            if name == "manifest.json":
                assert {each["path"] for each in json.loads(content)["archives"]} == {path for path, _, _ in needs}
        found.append(sums.parent.name)
    return found


def _names(sums: Path) -> list[str]:
    return [line.partition("  ")[2] for line in sums.read_text().splitlines() if not line.startswith("#")]


def _check_sums(sums: Path, site: Site) -> None:
    checked = subprocess.run(
        ("sha256sum", "--strict", "--quiet", "-c", sums.name), cwd=sums.parent, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked
    verify = ("ssh-keygen", "-Y", "check-novalidate", "-n", "hiveden-backup", "-s", f"{sums}.sig")
    subprocess.run(verify, input=sums.read_bytes(), check=True, capture_output=True)
    assert (site.state / "key").exists()


def _decrypted(path: Path, key: Key) -> bytes:
    if path.suffix != ".age":
        return path.read_bytes()
    return subprocess.run(("age", "-d", "-i", key.path, path), check=True, capture_output=True).stdout
