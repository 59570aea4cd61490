"""The names of artifacts: unique, one flat word, and safe in a URL whether or not a client escapes it."""

from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiveden_backup.core.backup.artifact_names import backup_of, filename
from hiveden_backup.core.model import ArtifactType

ID = "20261123T023000Z"
DATABASE = ArtifactType.DATABASE


def test_examples() -> None:
    assert filename("immich", ID, ArtifactType.APPLICATION, "", "immich") == f"immich.{ID}.application"
    assert filename("a", ID, DATABASE, "immich_postgres", "immich") == f"a.{ID}.database.immich_postgres.immich"
    assert filename("a", ID, DATABASE, "/run/pg", "db.1") == f"a.{ID}.database.~2Frun~2Fpg.db~2E1"


@given(server=st.text(min_size=1, max_size=20), target=st.text(min_size=1, max_size=20))
def test_any_name_survives_a_url(server: str, target: str) -> None:
    name = filename("a", ID, DATABASE, server.replace("\0", ""), target.replace("\0", ""))
    assert quote(name, safe="") == name == unquote(name)
    assert not set(name) & set("/?#%")


@given(one=st.tuples(st.text(max_size=4), st.text(max_size=4)), two=st.tuples(st.text(max_size=4), st.text(max_size=4)))
def test_no_two_artifacts_share_a_name(one: tuple[str, str], two: tuple[str, str]) -> None:
    assert (filename("a", ID, DATABASE, *one) == filename("a", ID, DATABASE, *two)) == (one == two)


@given(server=st.text(min_size=1, max_size=20), target=st.text(min_size=1, max_size=20))
def test_a_name_leads_back(server: str, target: str) -> None:
    assert backup_of(filename("a-b_1", ID, DATABASE, server, target)) == ("a-b_1", ID)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "immich",
        f"immich.{ID}",
        f"immich.{ID}.other",
        f"immich.{ID}.database.only",
        f"immich.{ID}.application.more",
        f"../immich.{ID}.application",
        f"..{ID}.application",
        f"Immich.{ID}.application",
        "immich.20261399T023000Z.application",
        f"immich.{ID}.database.a/b.c",
        f"immich.{ID}.database.a%2Fb.c",
        f"immich.{ID}.application\n",
    ],
)
def test_what_is_no_name_of_ours(text: str) -> None:
    assert backup_of(text) is None
