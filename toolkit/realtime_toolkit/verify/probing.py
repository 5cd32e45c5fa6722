"""Do one thing as one person and undo it: what the database answered, classified by SQLSTATE."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

import psycopg
from psycopg import sql

from realtime_toolkit.verify.tokens import claims

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from realtime_toolkit.verify.config import Config
    from realtime_toolkit.verify.ownership import Belonging
    from realtime_toolkit.verify.people import Who, World
    from realtime_toolkit.verify.session import Connection

Statement: TypeAlias = sql.SQL | sql.Composed
ROLES = ("anon", "authenticated", "service_role")


class Answer(StrEnum):
    ALLOW = "allow"
    DENY = "deny"
    UNDECIDED = "undecided"
    """The probe itself was at fault (23xxx), or the statement fails for everybody: nothing is proven."""
    FAULT = "fault"
    """The publication keeps it from working for everybody (55000, 42P10)."""
    RAISES = "raises"
    """A policy or trigger raised something that is no denial."""


@dataclass(frozen=True, slots=True)
class Result:
    answer: Answer
    sqlstate: str = ""


@dataclass(frozen=True, slots=True)
class Actor:
    """A role and the claims of its token. A token without ``sub`` is an API key's."""

    role: str
    claims: Mapping[str, Any]

    @property
    def text(self) -> str:
        return json.dumps(self.claims)


def actor(role: str, who: Who, world: World, belonging: Belonging, config: Config) -> Actor:
    """``role`` as that person: only ``authenticated`` has an identity."""
    if role != "authenticated":
        return Actor(role, {"role": role, "iss": "supabase"})
    return Actor(role, claims(who, world, belonging, config))


def attempt(
    connection: Connection,
    person: Actor | None,
    statement: Statement,
    *,
    before: Sequence[Statement] = (),
    topic: str | None = None,
) -> Result:
    """Run ``before`` as ourselves, then ``statement`` as that person (``None``: as ourselves); undo it all.

    What ``before`` runs into says nothing of the person: UNDECIDED.
    """
    becoming = () if person is None else (identity(person, topic=topic),)
    with undone(connection):
        try:
            if before or becoming:
                together(connection, (*before, *becoming))
        except psycopg.Error as error:
            return Result(Answer.UNDECIDED, sqlstate_of(error))
        try:
            reached = connection.execute(statement).rowcount
        except psycopg.Error as error:
            return Result(classify(sqlstate_of(error)), sqlstate_of(error))
    return Result(Answer.ALLOW if reached > 0 else Answer.DENY)


@contextmanager
def undone(connection: Connection) -> Iterator[None]:
    """What happens inside is rolled back, also after an error that was caught inside."""
    connection.execute("savepoint attempt")
    try:
        yield
    finally:
        if not connection.broken:
            connection.execute(b"rollback to savepoint attempt; release savepoint attempt")


def together(connection: Connection, statements: Sequence[Statement]) -> None:
    """All of them in one round trip."""
    connection.execute(sql.SQL("; ").join(statements))


def sqlstate_of(error: psycopg.Error) -> str:
    """Raises the error where the server has not spoken: then the connection is gone."""
    if error.sqlstate is None:
        raise error
    return error.sqlstate


def identity(person: Actor, *, topic: str | None = None) -> Statement:
    """What PostgREST and Realtime set before they act for a token; Realtime's authorization also the topic."""
    settings = {"role": person.role, "request.jwt.claims": person.text}
    if topic is not None:
        settings |= {"realtime.topic": topic, "request.headers": "{}"}
    setting = sql.SQL("pg_catalog.set_config({}, {}, true)")
    return sql.SQL("select ") + sql.SQL(", ").join(
        setting.format(sql.Literal(name), sql.Literal(value)) for name, value in settings.items()
    )


def classify(sqlstate: str) -> Answer:
    if sqlstate == "42501":
        return Answer.DENY
    if sqlstate in ("55000", "42P10"):
        return Answer.FAULT
    if sqlstate.startswith("23"):
        return Answer.UNDECIDED
    return Answer.RAISES
