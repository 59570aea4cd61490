"""What lies at an offsite, written by other means than the program's own."""

import base64
import hashlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.job import Site

SLICE = 96 << 10


def write_offsite(made: Site, job: str, host: Path, recipient: str) -> None:
    """All backups of a job, below the host's folder there."""
    there = host / job
    (there / "archives").mkdir(parents=True)
    for archive in (made.job(job) / "archives").iterdir():
        path = f"archives/{archive.name}"
        objects = sliced(archive, there / "archives", recipient)
        lines = [f"# archive {path} {told(archive)}", f"# recipient {recipient}"]
        write_sums(made, there / f"{path}.sums", lines, objects)
    for backup in made.ids(job):
        local = made.job(job) / backup
        (there / backup).mkdir()
        manifest = json.loads((local / "manifest.json").read_text())
        names = [line.partition("  ")[2] for line in (local / "SHA256SUMS").read_text().splitlines()]
        lines = [f"# backup {job}/{backup}", *(f"# file {name} {told(local / name)}" for name in names)]
        lines += [f"# needs {each['path']} {each['bytes']} {each['sha256']}" for each in manifest["archives"]]
        lines += [f"# signature {base64.b64encode((local / 'SHA256SUMS.sig').read_bytes()).decode()}"]
        lines += [f"# recipient {recipient}"]
        objects = [each for name in names for each in sliced(local / name, there / backup, recipient)]
        write_sums(made, there / backup / "SHA256SUMS", lines, objects)


def sliced(file: Path, there: Path, recipient: str) -> list[Path]:
    """The objects of a file: one without a number when it is no larger than a slice, and no archive."""
    content = file.read_bytes()
    whole = len(content) <= SLICE and file.parent.name != "archives"
    pieces = [content] if whole else [content[at : at + SLICE] for at in range(0, len(content), SLICE)]
    made = []
    for number, piece in enumerate(pieces):
        made.append(there / (f"{file.name}.age" if whole else f"{file.name}.{number:04}.age"))
        subprocess.run(["age", "-r", recipient, "-o", made[-1]], input=piece, check=True)
    return made


def told(file: Path) -> str:
    content = file.read_bytes()
    return f"{len(content)} {hashlib.sha256(content).hexdigest()}"


def write_sums(made: Site, path: Path, lines: Sequence[str], objects: Sequence[Path]) -> None:
    lines = ["# hiveden-backup offsite 1", *lines]
    lines += [f"# object {each.name} {each.stat().st_size}" for each in objects]
    lines += [f"{hashlib.sha256(each.read_bytes()).hexdigest()}  {each.name}" for each in objects]
    path.write_text("".join(f"{line}\n" for line in lines))
    sign = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(made.state / "key"), "-n", "hiveden-backup", str(path)]
    subprocess.run(sign, capture_output=True, check=True)
