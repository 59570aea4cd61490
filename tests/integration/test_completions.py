"""The completions that packages install, in the shells that they are for."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

BASH = """
set -u
. "$1"
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
current="${COMP_WORDS[COMP_CWORD]}"
registered="$(complete -p "$1")"
function="${registered##* -F }"
"${function%% *}" "$1" "$current"
if [[ ${#COMPREPLY[@]} -eq 0 && $registered == *" -o default "* ]]; then
    mapfile -t COMPREPLY < <(compgen -o default -- "$current")
fi
printf '%s\\n' "${COMPREPLY[@]}"
"""
# zsh completes only in a terminal: in one of its own, what would be listed is printed between two marks.
ZSH = """
zmodload zsh/zpty
zpty shell zsh -f -i
typeset -i tries=0
ask() { zpty -w shell "$1"; }
until_seen() {
    local seen= chunk
    while [[ $seen != *"$1"* ]]; do zpty -r shell chunk || return 1; seen+=$chunk; done
    print -rn -- "$seen"
}
ask "PS1= PROMPT= fpath=($1 \\$fpath); autoload -U compinit; compinit -u -D; PATH=$2:\\$PATH"
ask 'zstyle ":completion:*" list-grouped false; zstyle ":completion:*" verbose no; LISTMAX=1000 LINES=1000 COLUMNS=50'
ask 'compadd() { local -a out; builtin compadd -O out "$@"; print -rl -- "word: "$^out; builtin compadd "$@" }'
ask 'capture() { _main_complete; print DONE-$((6*7)) }'
ask 'zle -C capture complete-word capture; bindkey "^T" capture; print READY-$((6*7))'
until_seen READY-42 >/dev/null
zpty -wn shell "$3"$'\\x14'
until_seen DONE-42
zpty -d shell
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All three, and the program, with a configuration of two jobs, one of which has a backup."""
    place = tmp_path_factory.mktemp("completions")
    backups = place / "backups"
    (backups / "photos/20261123T023000Z").mkdir(parents=True)
    (backups / ".hiveden-backup.json").write_text('{"format": 1, "id": "test"}')
    (place / "config.toml").write_text(
        f'directory = "{backups}"\n[jobs.photos]\npaths = ["/srv"]\n[jobs.papers]\npaths = ["/srv"]\n'
    )
    (place / "other.toml").write_text(f'directory = "{backups}"\n[jobs.other]\npaths = ["/srv"]\n')
    program = place / "bin/hiveden-backup"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{CHECKOUT}" exec "{sys.executable}" -m hiveden_backup "$@"\n')
    program.chmod(0o755)
    subprocess.run([CHECKOUT / "packaging/completions", place, program], check=True)
    (place / "there.toml").touch()
    return place


def environment(place: Path) -> Mapping[str, str]:
    path = f"{place}/bin:{os.environ['PATH']}"
    return {
        **os.environ,
        "PATH": path,
        "HIVEDEN_BACKUP_CONFIG": f"{place}/config.toml",
        "TERM": "dumb",
        "HOME": str(place),
    }


def run(place: Path, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        cwd=place,
        env=environment(place),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def ask(place: Path, argv: Sequence[str]) -> str:
    done = run(place, argv)
    assert done.returncode == 0, done.stderr
    return done.stdout


def bash(place: Path, line: str) -> set[str]:
    return set(ask(place, ["bash", "-c", BASH, "bash", str(place / "hiveden-backup"), *line.split(" ")]).split())


def zsh(place: Path, line: str) -> set[str]:
    said = ask(place, ["zsh", "-fc", ZSH, "zsh", str(place), str(place / "bin"), line])
    return {each.partition("word: ")[2].strip() for each in said.splitlines() if "word: " in each}


def fish(place: Path, line: str) -> set[str]:
    said = ask(place, ["fish", "--no-config", "-c", 'source hiveden-backup.fish; complete -C "$argv"', line])
    return {each.partition("\t")[0] for each in said.splitlines()}


SHELLS = (bash, zsh, fish)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell.__name__)
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("hiveden-backup re", {"restore", "recover", "recovery-kit"}),
        ("hiveden-backup config s", {"set", "show"}),
        ("hiveden-backup --quiet config s", {"set", "show"}),
        ("hiveden-backup run --f", {"--full"}),
        ("hiveden-backup run p", {"photos", "papers"}),
        ("hiveden-backup run photos p", {"photos", "papers"}),
        ("hiveden-backup --config other.toml run o", {"other"}),
        ("hiveden-backup show ph", {"photos/latest", "photos/20261123T023000Z"}),
        ("hiveden-backup diff photos/latest photos/2", {"photos/20261123T023000Z"}),
        ("hiveden-backup cat ph", {"photos/latest", "photos/20261123T023000Z"}),
        ("hiveden-backup find x --job ph", {"photos"}),
        ("hiveden-backup list --type a", {"application"}),
        ("hiveden-backup list --job ph", {"photos"}),
        ("hiveden-backup config set jobs.photos.stop_", {"jobs.photos.stop_timeout"}),
        ("hiveden-backup --config there", {"there.toml"}),
        ("hiveden-backup nonsense", set()),
        ("hiveden-backup restore --as x", set()),
    ],
)
def test_completes(scripts: Path, shell: object, line: str, expected: set[str]) -> None:
    assert callable(shell)
    found = shell(scripts, line)
    assert {word for word in found if word.startswith(line.rpartition(" ")[2])} == expected


def test_everybody_can_press_tab(scripts: Path) -> None:
    """Without a configuration to read, nothing is offered and nothing is said."""
    (scripts / "empty").mkdir()
    argv = ["bash", "-c", f"cd empty; {BASH}", "bash", str(scripts / "hiveden-backup")]
    said = run(scripts, [*argv, "hiveden-backup", "--config", "absent.toml", "run", ""])
    assert said.stdout.strip() == ""
    assert said.stderr == ""


def test_names_are_quick_to_come(scripts: Path) -> None:
    """Nothing slow is imported for names."""
    code = "import sys\nfrom hiveden_backup.cli.main import main\n"
    code += "try: main()\nexcept SystemExit: print(*sys.modules)"
    asked = {"_HIVEDEN_BACKUP_COMPLETE": "complete_bash", "COMP_WORDS": "hiveden-backup show ", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=CHECKOUT,
        env={**environment(scripts), **asked},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "photos/latest" in done.stdout.splitlines()
    assert not {"docker", "psycopg", "pydantic", "tomli_w"} & set(done.stdout.splitlines()[-1].split())
