"""What the patterns of `exclude` do to the files that are there: those without effect, and those with too much."""

import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence

from hiveden_backup.core.config.keys import quoted
from hiveden_backup.core.config.patterns import covers
from hiveden_backup.core.errors import ImpossibleError
from hiveden_backup.core.globs import matcher, real_forms
from hiveden_backup.core.model import Check
from hiveden_backup.core.paths import inside
from hiveden_backup.core.restore_record import HOLDER_PREFIX
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.disk.index_files import spooled
from hiveden_backup.host.disk.walk import Way
from hiveden_backup.jobs.run.passes import Look, Trees
from hiveden_backup.jobs.run.plan import Draft

_WILD = re.compile(r"[*?[]")
_FIELDS = 10


def check_excludes(draft: Draft, *, thorough: bool) -> None:
    """Each pattern matches something, and none of them leaves nothing to back up.

    With `thorough`, the hints name what a pattern was meant for, as far as that can be found; it takes another look at
    every path, when there is a pattern that matches nothing.
    """
    trees, looked = draft.trees, draft.looked
    if trees is None or looked is None or not draft.job.exclude:
        return
    for pattern in draft.job.exclude:
        for source in draft.sources:
            if any(covers(form, source.path) for form in real_forms(pattern, draft.sources)):
                error = ImpossibleError(f"The exclude pattern {quoted(pattern)} excludes all of {source.name}")
                draft.findings.fail(Check.EXCLUDE, error)
    with draft.findings.check(Check.EXCLUDE):
        _check_emptied(draft, trees)
    unmatched = tuple(_unmatched(draft, trees, looked))
    meant = dict(_look_alikes(unmatched, looked)) if thorough and unmatched else {}
    for pattern in unmatched:
        hint = meant.get(pattern) or next(_advice(draft, trees, pattern, thorough=thorough), "")
        draft.findings.warn(Check.EXCLUDE, f"The exclude pattern {quoted(pattern)} matches nothing", hint)


def _check_emptied(draft: Draft, trees: Trees) -> None:
    """ImpossibleError when all that the job's paths have is excluded: that would be an empty backup."""
    excluded = matcher(trees.exclude)
    emptied = [root for root in trees.roots if _is_emptied(root, trees, excluded)]
    if emptied and len(emptied) == len(trees.roots):
        raise ImpossibleError(
            f"The exclude patterns leave nothing of {', '.join(emptied)}",
            "The backup would be empty",
            "Look at the job's `exclude`",
        )
    for root in emptied:
        draft.findings.warn(Check.EXCLUDE, f"The exclude patterns leave nothing of {root}")


def _is_emptied(root: str, trees: Trees, excluded: Callable[[bytes], bool]) -> bool:
    """Whether a directory has something in it, and all of that is excluded. It stops at the first that is not."""
    if not os.path.isdir(root):
        return False
    some = False
    with (
        translated(f"reading {root}"),
        Way() as way,
        os.scandir(way.directory(os.fsencode(root.lstrip("/")), read=True)) as listing,
    ):
        for entry in listing:
            path = os.path.join(root, entry.name)
            if path in trees.skip or entry.name.startswith(HOLDER_PREFIX):
                continue
            if not excluded(os.fsencode(path.lstrip("/"))):
                return False
            some = True
    return some


# ---- patterns without effect ---------------------------------------------------------------------------------------


def _unmatched(draft: Draft, trees: Trees, looked: Look) -> Iterator[str]:
    idle = set(looked.unmatched)
    left_out = [os.fsencode(path.lstrip("/")) for path, _ in looked.kept_out]  # the scan asked no pattern about these
    for pattern in dict.fromkeys(draft.job.exclude):
        forms = tuple(real_forms(pattern, draft.sources))
        met = any(map(matcher(forms), left_out)) or any(_is_there(form, trees) for form in forms)
        if idle.issuperset(forms) and not met:
            yield pattern


def _is_there(pattern: str, trees: Trees) -> bool:
    """Whether it names a path that is there: what is above that was left out already, for some other reason."""
    if not pattern.startswith("/") or _WILD.search(pattern) is not None:
        return False
    path = os.path.normpath(pattern)
    here = os.path.realpath(os.path.dirname(path)) == os.path.dirname(path) and os.path.lexists(path)
    return here and any(inside(path, root) for root in trees.roots)


def _look_alikes(patterns: Sequence[str], looked: Look) -> Iterator[tuple[str, str]]:
    """Hints for the patterns that differ in case, or in how letters with accents are written, from a path there is."""
    alike = {pattern: matcher([_folded(pattern)]) for pattern in patterns}
    for line in spooled(looked.draft):
        path = os.fsdecode(line.split(b"\t", _FIELDS)[_FIELDS])
        folded = os.fsencode(_folded(path))
        for pattern in [each for each, matches in alike.items() if matches(folded)]:
            del alike[pattern]
            yield pattern, _difference(pattern, path)
        if not alike:
            return


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _difference(pattern: str, path: str) -> str:
    composed = matcher([unicodedata.normalize("NFC", pattern)])
    if not composed(os.fsencode(unicodedata.normalize("NFC", path))):
        return f"There is {quoted('/' + path)}: capital and small letters are not the same here"
    shown = "".join(char if char.isascii() else f"\\u{ord(char):04x}" for char in "/" + path)
    return f'There is a path that looks the same, with its accents written in another way; in TOML it is "{shown}"'


def _advice(draft: Draft, trees: Trees, pattern: str, *, thorough: bool) -> Iterator[str]:
    """What it may have been meant for, the likeliest first."""
    if pattern.startswith("/"):
        yield from _elsewhere(draft, trees, pattern, thorough=thorough)
    if "\\" in pattern:
        yield r"A \ is a character like any other here: brackets take a character's meaning away, such as [*]"
    if pattern[0] in "'\"" and pattern[0] == pattern[-1:]:
        yield f"The inner quotation marks are a part of it: write {quoted(pattern[1:-1])}"
    if re.search(r"[,;]\s*[*/.]|\s[*/.]", pattern) is not None:
        yield "Each pattern is a string of its own in the list"
    if re.match(r"\^|.*\$$|.*\.[*+]|\(", pattern) is not None:
        yield "Patterns are globs, no regular expressions: *, ?, ** and [a-z]"
    yield "Remove it, unless such a path may come"


def _elsewhere(draft: Draft, trees: Trees, pattern: str, *, thorough: bool) -> Iterator[str]:
    """Advice about a pattern for a path that is not where the job looks."""
    head = os.path.normpath(_WILD.split(pattern, maxsplit=1)[0])
    rest = pattern[len(head) :]
    real = os.path.realpath(head)
    if real != head:
        if any(inside(real, root) for root in trees.roots):
            yield f"{head} leads over a symbolic link: write {quoted(real + rest)}"
        else:
            yield f"{head} leads to {real}: what lies behind a symbolic link is not archived, so leave it out of here"
    if any(inside(head, root) or inside(root, head) for root in trees.roots):
        return
    if thorough and draft.docker is not None:
        for container in draft.docker.containers():
            for mount in container.mounts:
                if mount.source and mount.destination != "/" and inside(head, mount.destination):
                    host = mount.source + pattern[len(mount.destination.rstrip("/")) :]
                    yield f"If it is meant as the container {container.name} sees it, write {quoted(host)}"
    yield f"It is below none of the job's paths ({', '.join(trees.roots)}); paths in a container are others here"
