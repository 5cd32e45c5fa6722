"""What verify decides by names, where no trial can: designs and leaks, authors and objects, the server's columns."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from realtime_toolkit.errors import ConfigError
from realtime_toolkit.verify import CheckResult, Config, Finding, Level, Outcome, Report, Rule
from realtime_toolkit.verify.acceptance import acceptances, without_accepted
from realtime_toolkit.verify.acts import ABOUT, meant_for_reading
from realtime_toolkit.verify.config import parse_config, served_schemas
from realtime_toolkit.verify.ownership import claimed_roles
from realtime_toolkit.verify.sharing import PUBLIC, Door, is_design
from realtime_toolkit.verify.tables import Column, Policy, Table

if TYPE_CHECKING:
    from pathlib import Path

TEXT = Column("subject", "text", "text", "b", (), None, True, None, False, False)


def column(name: str, base: str = "text", default: str | None = None) -> Column:
    return replace(TEXT, name=name, type=base, base=base, default=default)


DESIGNS = [
    Door(column("is_public", "boolean", "true"), "true", ("false",), ("false",)),
    Door(column("isPublic", "boolean", "true"), "t", ("false",), ("false",)),
    Door(column("published_at", "timestamp with time zone"), "2026-01-01", (None, "2100-01-01"), (None,)),
    Door(column("visibility", default="'public'"), "public", ("private", "probe"), ("private", "probe")),
    Door(column("status", default="'published'"), "published", ("draft", "probe"), ("draft", "probe")),
    Door(column("hidden", "boolean", "false"), "false", ("true",), ("true",)),
    Door(column("kind"), "announcement", ("note",), ("note",)),
]
LEAKS = [
    Door(column("subject"), "probe 101", ("", "x"), ("",)),
    Door(column("body"), "probe 101", (None, "x"), (None,)),
    Door(column("status", default="'open_'"), "new", ("archived", "done", "probe"), ("archived",)),
    Door(
        column("deleted_at", "timestamp with time zone"),
        None,
        ("2000-01-01", "2100-01-01"),
        ("2000-01-01", "2100-01-01"),
    ),
    Door(column("deleted", "boolean", "false"), "false", ("true",), ("true",)),
]


@pytest.mark.parametrize("door", DESIGNS, ids=lambda door: door.column.name)
def test_a_state_that_shares_a_row_is_a_design(door: Door) -> None:
    assert is_design(door)
    assert not is_design(door, writes=True), "to show a row is not to let it be changed"


@pytest.mark.parametrize("door", LEAKS, ids=lambda door: door.column.name)
def test_a_state_that_nearly_every_row_has_is_none(door: Door) -> None:
    assert not is_design(door)


def test_a_flag_for_editing_lets_strangers_write_by_design() -> None:
    assert is_design(Door(column("anyone_can_edit", "boolean"), "true", (), ()), writes=True)


def test_a_policys_name_says_that_it_is_for_everybody() -> None:
    for name in ("Public profiles are viewable by everyone.", "anyone_reads", "storefront"):
        assert PUBLIC.search(name), name
    for name in ("Enable read access for all users", "members", "read"):
        assert not PUBLIC.search(name), name


def policy(name: str, command: str = "*", text: str = "true") -> Policy:
    return Policy(name, command, True, text, {})


def test_a_policy_for_all_whose_name_speaks_of_reading() -> None:
    assert meant_for_reading(policy("Students can view their grades"))
    assert meant_for_reading(policy("viewer_access"))
    assert not meant_for_reading(policy("Students can view their grades", "r"))
    assert not meant_for_reading(policy("members read and edit"))
    assert not meant_for_reading(policy("own"))


def test_users_whom_a_row_is_about() -> None:
    assert all(ABOUT.search(name) for name in ("assignee_id", "recipient_id", "followed_id", "shared_with"))
    assert not any(
        ABOUT.search(name) for name in ("author_id", "created_by", "sender_id", "user_id", "owner")
    )


def test_claims_compared_with_a_constant_are_roles(small: Table) -> None:
    texts = (
        "((( SELECT auth.jwt() AS jwt) -> 'app_metadata'::text) ->> 'role'::text) = 'manager'::text",
        "((auth.jwt() -> 'app_metadata'::text) ->> 'tier'::text) = ANY (ARRAY['gold'::text, 'silver'::text])",
        "(auth.jwt() ->> 'role'::text) = 'anon'::text",
    )
    table = replace(small, policies=tuple(policy("p", "d", text) for text in texts))
    assert list(claimed_roles(table)) == [
        (("app_metadata", "role"), "manager"),
        (("app_metadata", "tier"), "gold"),
    ]


@pytest.fixture
def small() -> Table:
    return Table(
        "public.t", "r", False, True, (), (), (), "d", (), (), (), (), (), frozenset(), True, frozenset()
    )  # fmt: skip


# -- what is accepted ------------------------------------------------------------------------------------------

OPEN = Finding("ACC001", Level.ERROR, "public.plans", "Open.", "--", "ACC001 public.plans anon")


def report(*found: Finding, reason: str = "") -> Report:
    check = CheckResult(
        Rule("ACC001", "access", "t"), Outcome.FAIL if found else Outcome.PASS, found, (), reason
    )
    return Report("17", (check,), 0.1)


def test_what_is_accepted_by_name_is_set_apart() -> None:
    config = parse_config({"accept": {"plans": ["ACC001"]}})
    left = without_accepted(report(OPEN), acceptances(config, None, {"ACC001"}))
    assert (left.findings, left.known, left.ok(strict=True), left.notes) == ((), (OPEN,), True, ())


def test_the_snapshot_accepts_by_a_line_of_its_own() -> None:
    text = "# head\naccess   public.plans  anon  select  other-tenant=allow\n# accept ACC001 public.plans\n"
    assert acceptances(Config(), text, {"ACC001"}) == {("ACC001", "public.plans")}


def test_to_accept_what_is_not_there_is_said_and_an_unknown_check_refused() -> None:
    config = parse_config({"accept": {"public.plans": ["ACC001"]}})
    (note,) = without_accepted(report(), acceptances(config, None, {"ACC001"})).notes
    assert note == "ACC001 is accepted on public.plans, and there is no such finding"
    with pytest.raises(ConfigError, match=r"ACC001 is accepted on public\.plans"):
        acceptances(config, None, {"RLS001"})


def test_accepting_a_finding_does_not_make_a_pass_of_what_is_undecided() -> None:
    left = without_accepted(report(OPEN, reason="public.t: update"), frozenset({("ACC001", "public.plans")}))
    assert left.checks[0].outcome is Outcome.UNDECIDED


def test_the_schemas_that_are_served(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    assert served_schemas(path) is None
    path.write_text('[api]\nschemas = ["api"]\n')
    assert served_schemas(path) == frozenset({"api", "public"})
    for odd in ("[api]\nschemas = 3\n", "[api\n", "api = 1\n"):
        path.write_text(odd)
        assert served_schemas(path) is None
