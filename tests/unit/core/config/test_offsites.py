"""The tables of offsites: what is refused, with all problems at once, and what where a job's backups go comes to."""

import tomllib

import pytest

from hiveden_backup.core.config.parse import effective_table, parse
from hiveden_backup.core.config.values import Config
from hiveden_backup.core.errors import ConfigError, Problem

KEY = "age17ll4e9x0c0xlev87vvh8cs4x4vttp5pkm6hee7yy07d37y4n4q6q79ukc8"
SSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5wq3TNSM4jvOVCzBJMnJ8hXkNpVHqkX0iTRBjCZkkd me@laptop"
PLACE = 'remote = "/there"\nencrypt = false'


def read(text: str, job: str = "") -> Config:
    whole = f'directory = "/b"\n[jobs.a]\npaths = ["/a"]\n{job}\n{text}'
    return parse(tomllib.loads(whole), lambda _: "config.toml")


def problems(text: str, job: str = "") -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        read(text, job)
    return list(caught.value.problems)


def place(**keys: str) -> str:
    """One offsite whose keys are as good as others, but for these."""
    known = {"remote": '"b2:bucket"', "rclone_config": '"/etc/r.conf"', "recipients": f'["{KEY}"]', **keys}
    return "[offsite.b2]\n" + "\n".join(f"{key} = {value}" for key, value in known.items() if value)


def test_a_job_goes_to_all_places_to_some_or_to_none() -> None:
    two = f'[offsite.one]\n{PLACE}\n[offsite.two]\nremote = "/elsewhere"\nencrypt = false'
    for line, names in (("", ["one", "two"]), ('offsite = ["two"]', ["two"]), ("offsite = []", [])):
        config = read(two, line)
        assert [each.name for each in config.offsites_of(config.jobs["a"])] == names


def test_sizes_are_written_as_they_were_read() -> None:
    config = read(place(slice="1048576", verify_budget='"1 TiB"'))
    table = effective_table(config)["offsite"]
    assert isinstance(table, dict)
    assert (table["b2"]["slice"], table["b2"]["verify_budget"]) == ("1MiB", "1TiB")


@pytest.mark.parametrize(
    "recipient",
    [
        pytest.param(KEY, id="a key of age"),
        pytest.param(SSH, id="a key of ssh"),
        pytest.param(SSH.rpartition(" ")[0], id="without a comment"),
    ],
)
def test_a_recipient_is_taken(recipient: str) -> None:
    assert read(place(recipients=f'["{recipient}"]')).offsites["b2"].recipients == (recipient,)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        pytest.param({"remote": ""}, "offsite.b2.remote: is missing", id="no remote"),
        pytest.param({"remote": '"b2"'}, "offsite.b2.remote: is no remote", id="no colon"),
        pytest.param({"remote": '":s3,secret_access_key=x:b"'}, "offsite.b2.remote: is no remote", id="made up"),
        pytest.param({"remote": '"b2,key=secret:b"'}, "offsite.b2.remote: is no remote", id="with a parameter"),
        pytest.param({"remote": '"-x:b"'}, "offsite.b2.remote: is no remote", id="an option"),
        pytest.param({"remote": '"b2:a/../b"'}, "offsite.b2.remote: leads upwards", id="upwards"),
        pytest.param({"remote": '"/b/there"'}, "lies in the backup directory", id="in the backup directory"),
        pytest.param({"rclone_config": ""}, "offsite.b2.rclone_config: is missing", id="no configuration"),
        pytest.param({"recipients": ""}, "offsite.b2.recipients: nobody could decrypt", id="no recipients"),
        pytest.param({"encrypt": "false"}, "offsite.b2.encrypt: is false, and yet", id="recipients for nothing"),
        pytest.param({"recipients": '["me"]'}, "is no recipient", id="no key"),
        pytest.param({"recipients": f'["{KEY[:-1]}9"]'}, "is mistyped", id="a wrong checksum"),
        pytest.param({"recipients": '["age1"]'}, "is mistyped", id="nothing of a key"),
        pytest.param({"recipients": f'["{SSH.replace("AAAA", "AAAB", 1)}"]'}, "is damaged", id="a damaged key"),
        pytest.param({"slice": '"1"'}, "offsite.b2.slice: is out of range", id="a tiny slice"),
        pytest.param({"slice": '"3GiB"'}, 'Use "1MiB" to "2GiB"', id="a huge slice"),
        pytest.param({"slice": '"1 MB"'}, "is not a size", id="another unit"),
        pytest.param({"slice": "true"}, "must be a size, not a boolean", id="no size at all"),
        pytest.param({"bandwidth": '"fast"'}, "is no timetable", id="no timetable"),
        pytest.param({"bandwidth": '"25:00,1M"'}, "is no timetable", id="a wrong time"),
        pytest.param({"keep_local": '"none"'}, 'is neither "all" nor "newest"', id="another word"),
        pytest.param({"reconcile": '"soon"'}, "is not a duration", id="no span"),
        pytest.param({"recipient": f'"{KEY}"'}, 'Did you mean "recipients"?', id="a slip of the pen"),
    ],
)
def test_what_is_wrong_is_said(keys: dict[str, str], said: str) -> None:
    assert any(said in str(problem) for problem in problems(place(**keys)))


def test_all_that_is_wrong_is_said_at_once() -> None:
    found = problems(place(slice="0", bandwidth='"x"', keep_local='"x"') + "\n[offsite.B]\n", 'offsite = ["b3"]')
    texts = [str(each) for each in found]
    for part in ("slice", "bandwidth", "keep_local", "not a name for an offsite", 'there is no offsite "b3"'):
        assert any(part in text for text in texts), (part, texts)


def test_a_secret_is_never_shown() -> None:
    secret = "AGE-SECRET-KEY-1V75M5GQ0KVGZDKVZV02DFUSSCFVJM9V0P7RDQNTY3Z9C86GX3AVQH4DHQH"
    texts = [str(each) for each in problems(place(recipients=f'["{secret}"]', remote='"b2,key=hunter2:b"'))]
    assert any("secret part" in text for text in texts)
    assert not any("SECRET-KEY" in text or "hunter2" in text for text in texts)


@pytest.mark.parametrize("remote", ["/there", "/there/"])
def test_two_offsites_in_one_place_are_refused(remote: str) -> None:
    found = problems(f'[offsite.one]\n{PLACE}\n[offsite.two]\nremote = "{remote}"\nencrypt = false')
    assert any('the remote of the offsite "one", too' in str(each) or "normalized" in str(each) for each in found)


def test_two_ways_to_write_one_place_are_one_place() -> None:
    one, other = place(remote='"b2:/bucket/x"'), place(remote='"b2:bucket//x/"').replace("[offsite.b2]", "[offsite.c]")
    assert any("is the remote of" in str(each) for each in problems(f"{one}\n{other}"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("b2:bucket", "b2:bucket/x"),
        ("b2:bucket/x/y", "b2:bucket/x/"),
        ("b2:", "b2:bucket"),
        ("/there", "/there/in it"),
    ],
)
def test_one_place_within_another_is_refused(one: str, other: str) -> None:
    texts = [place(remote=f'"{one}"'), place(remote=f'"{other}"').replace("[offsite.b2]", "[offsite.c]")]
    if one.startswith("/"):
        texts = [text.replace('rclone_config = "/etc/r.conf"', "") for text in texts]
    assert any("lie one in the other" in str(each) for each in problems("\n".join(texts)))


def test_places_beside_each_other_are_taken() -> None:
    one, other = place(remote='"b2:bucket/x"'), place(remote='"b2:bucket/xy"').replace("[offsite.b2]", "[offsite.c]")
    assert list(read(f"{one}\n{other}").offsites) == ["b2", "c"]


@pytest.mark.parametrize(
    "bandwidth",
    ["2M", "off", "10M:512k", "08:00,512k 12:00,10M 13:00,512k 23:00,off", "Mon-00:00,512 Sat-10:00,1M:off", "1.5MiB"],
)
def test_a_timetable_of_rclones_is_taken(bandwidth: str) -> None:
    assert read(place(bandwidth=f'"{bandwidth}"')).offsites["b2"].bandwidth == bandwidth
