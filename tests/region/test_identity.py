"""Who a region is stays; what a token opens ends when it should."""

from __future__ import annotations

from contextlib import closing

import pytest

from proa.clock import RandomIds
from proa.errors import ConflictError, SettingsError
from proa.http.api_errors import MissingError
from proa.region.identity import Identity
from proa.region.state import Database, Exclusive, LostError
from proa.region.state.state_tables import metadata
from proa.region.tokens import Tokens
from proa.testing import FakeClock


@pytest.fixture
def database(tmp_path):
    with closing(Database.open(f"sqlite:///{tmp_path / 'state.db'}")) as opened:
        yield opened


def test_a_region_is_the_same_after_a_restart_and_differs_from_others(database, tmp_path):
    first = Identity.load(database, "us-east", "/data")
    assert Identity.load(database, "us-east", "/moved") == first
    with closing(Database.open(f"sqlite:///{tmp_path / 'x.db'}")) as elsewhere:
        other = Identity.load(elsewhere, "us-west", "/data")
    assert other.workspace_id != first.workspace_id
    assert first.workspace_id.isdigit()


def test_a_state_belongs_to_one_region_and_one_workspace_id(database):
    Identity.load(database, "us-east", "/data", 42)
    with pytest.raises(SettingsError, match="belongs to region 'us-east'"):
        Identity.load(database, "us-west", "/data")
    with pytest.raises(SettingsError, match="cannot become 43"):
        Identity.load(database, "us-east", "/data", 43)


def test_a_token_opens_until_it_is_revoked_or_over(database, clock):
    tokens = Tokens(database, clock, RandomIds())
    token, text = tokens.create("ada", "for tests", lifetime_s=60)
    assert tokens.user_of(text) == "ada"
    assert tokens.user_of(text + "0") is None
    assert tokens.user_of(text[:-1]) is None
    clock.advance(61)
    assert tokens.user_of(text) is None
    token, text = tokens.create()
    tokens.revoke(token.token_id)
    assert tokens.user_of(text) is None
    with pytest.raises(MissingError):
        tokens.revoke("nothing")


def test_a_token_is_kept_as_a_hash_only(database, clock, tmp_path):
    _, text = Tokens(database, clock, RandomIds()).create()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert text.encode() not in kept
    assert text[16:].encode() not in kept


def test_one_server_owns_a_state(database):
    clock = FakeClock()
    owner = Exclusive.take(database, clock)
    with pytest.raises(ConflictError):
        Exclusive.take(database, clock)
    owner.release()
    Exclusive.take(database, clock).release()


def test_a_server_that_was_just_killed_is_waited_for(database):
    clock = FakeClock()
    owner = Exclusive.take(database, clock)

    class Dying(FakeClock):
        def wait(self, seconds, until=None):
            owner.release()
            return super().wait(seconds, until)

    Exclusive.take(database, Dying()).release()


def test_a_state_with_a_new_owner_is_not_written_by_the_last(database, tmp_path):
    with closing(Database.open(f"sqlite:///{tmp_path / 'state.db'}")) as later:
        owner = Exclusive.take(database, FakeClock())
        with database.write():
            pass
        owner.check()
        owner.release()
        Exclusive.take(later, FakeClock())
        with pytest.raises(LostError), database.write():
            pytest.fail("it was let in")
        with pytest.raises(LostError):
            owner.check()
        with later.write():
            pass


@pytest.mark.parametrize("url", ["nonsense", "mysql://x/y", "sqlite://", "sqlite:///:memory:"])
def test_a_state_that_cannot_be_is_refused(url):
    with pytest.raises(SettingsError):
        Database.open(url)


def test_the_migrations_make_the_tables_that_the_code_means(database):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
