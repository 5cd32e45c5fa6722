"""Databases of a test's own, on the server that the tests run on."""

from __future__ import annotations

import datetime
import uuid
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from realtime_toolkit.stack.postgres.template import BASELINE
from realtime_toolkit.stack.realtime.messages import partitions
from realtime_toolkit.testing import ExternalProject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from realtime_toolkit.stack import LocalStack


Maker = psycopg.Connection[tuple[object, ...]]


def maker_url(stack: LocalStack) -> str:
    """Of the role that makes databases: hosted ``postgres`` is no superuser, but may do so, too."""
    return stack.database_url if isinstance(stack, ExternalProject) else stack.admin_url


def maker(stack: LocalStack) -> Maker:
    return psycopg.connect(maker_url(stack), autocommit=True)


@contextmanager
def database(maker: Maker, stack: LocalStack, prefix: str, template: str = "template0") -> Iterator[str]:
    """The address of a new database that belongs to ``postgres``, as ``postgres``; it is dropped in the end."""
    name = f"{prefix}_{uuid.uuid4().hex[:8]}"
    made = sql.Identifier(name)
    with granted(stack):
        maker.execute(
            sql.SQL("create database {} owner postgres template {}").format(made, sql.Identifier(template))
        )
    try:
        url = make_conninfo(stack.database_url, dbname=name)
        if isinstance(stack, ExternalProject):
            _must_lead_to(name, url)
        yield url
    finally:
        maker.execute(sql.SQL("drop database {} with (force)").format(made))


def _must_lead_to(name: str, url: str) -> None:
    """A pooler may lead to the project's own database whatever is asked for."""
    with psycopg.connect(url) as db:
        found = db.execute("select current_database()").fetchone()
    if found != (name,):
        pytest.skip("this project's address leads to one database only: it has no other ones for tests")


@contextmanager
def granted(stack: LocalStack) -> Iterator[None]:
    """What hosted ``postgres`` may not do is not tried on a project that is already there."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        if not isinstance(stack, ExternalProject):
            raise
        pytest.skip(f"this project's postgres may not: {error.diag.message_primary}")


@contextmanager
def baseline(stack: LocalStack, prefix: str) -> Iterator[str]:
    """The address of a database with what a Supabase project has before its first migration, as ``postgres``, and the
    partitions that its Realtime server makes."""
    with maker(stack) as admin, database(admin, stack, prefix) as url:
        there_url = make_conninfo(maker_url(stack), dbname=conninfo_to_dict(url)["dbname"])
        with granted(stack), psycopg.connect(there_url, autocommit=True) as there:
            for script in BASELINE:
                there.execute(script.read_bytes())
            for statement in partitions(datetime.datetime.now(datetime.UTC).date()):
                there.execute(statement.encode())
        yield url


@contextmanager
def projects(stack: LocalStack, template: str) -> Iterator[Callable[..., str]]:
    """A function that makes databases from the template, runs scripts in them, and gives their addresses."""
    with maker(stack) as admin, ExitStack() as made:

        def make(*scripts: Path | str) -> str:
            url = made.enter_context(database(admin, stack, "project", template))
            with granted(stack), psycopg.connect(url, autocommit=True) as there:
                for script in scripts:
                    there.execute(script.encode() if isinstance(script, str) else script.read_bytes())
            return url

        yield make
