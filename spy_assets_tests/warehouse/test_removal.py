"""What may be removed as a profile, and under which Postgres schema a profile is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.dagster_home import remove_profile
from spy_assets.errors import ConfigError
from spy_assets.settings import Settings, load_settings
from spy_assets.warehouse.connection import metadata_schema


@pytest.mark.parametrize("keep_halt", [True, False])
@pytest.mark.parametrize(
    "name", ["..", ".", "../other", "a/b", "sample/..", "sample/../sample", "{elsewhere}"]
)
def test_nothing_but_a_profile_is_removed(tmp_path: Path, name: str, keep_halt: bool):
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for folder in (home, home / ".spy/sample", home / ".spy/a/b", home / "other", elsewhere):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "file").write_text("keep")
    before = sorted(tmp_path.rglob("*"))
    profile = name.format(
        elsewhere=elsewhere
    )  # never a real folder: without the guard it is emptied
    wrong = load_settings(home=home).model_copy(update={"profile": profile})
    with pytest.raises(ConfigError, match="nothing was removed"):
        remove_profile(wrong, keep_halt=keep_halt)
    assert sorted(tmp_path.rglob("*")) == before


def schema(profile: str) -> str:
    return metadata_schema(Settings().model_copy(update={"profile": profile}))


NAMES = st.text(alphabet="abAB01_-. é", min_size=1, max_size=70)


@settings(deadline=None, max_examples=50)
@given(NAMES, NAMES)
def test_no_two_profiles_share_a_schema(one: str, other: str):
    assert (schema(one) == schema(other)) == (one == other)
    assert len(schema(one)) <= 63


@pytest.mark.parametrize(
    ("one", "other"), [("a-b", "a_b"), ("a.b", "a-b"), ("A", "a"), ("x" * 70, "x" * 71)]
)
def test_like_names_have_schemas_of_their_own(one: str, other: str):
    assert schema(one) != schema(other)
    assert schema(schema(one).removeprefix("spy_")) != schema(one)


def test_a_plain_name_is_its_schema():
    assert schema("sample") == "spy_sample"
    assert schema("a_b") == "spy_a_b"
