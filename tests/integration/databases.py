"""Databases of a test's own, on the server that the tests run on."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from realtime_toolkit.stack.postgres.template import BASELINE
from realtime_toolkit.testing import ExternalProject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realtime_toolkit.stack import LocalStack


def maker_url(stack: LocalStack) -> str:
    """Of the role that makes databases: hosted ``postgres`` is no superuser, but may do so, too."""
    return stack.database_url if isinstance(stack, ExternalProject) else stack.admin_url


@contextmanager
def database(stack: LocalStack, prefix: str, template: str = "template0") -> Iterator[str]:
    """The name of a new database that belongs to ``postgres``; it is dropped in the end."""
    name = f"{prefix}_{uuid.uuid4().hex[:8]}"
    made = sql.Identifier(name)
    with psycopg.connect(maker_url(stack), autocommit=True) as maker:
        maker.execute(
            sql.SQL("create database {} owner postgres template {}").format(made, sql.Identifier(template))
        )
        try:
            _must_be_reached(stack, name)
            yield name
        finally:
            maker.execute(sql.SQL("drop database {} with (force)").format(made))


def _must_be_reached(stack: LocalStack, name: str) -> None:
    """A pooler may lead to the project's own database whatever is asked for."""
    with psycopg.connect(make_conninfo(maker_url(stack), dbname=name)) as db:
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
    """The name of a database with what a Supabase project has before its first migration."""
    with database(stack, prefix) as name:
        url = make_conninfo(maker_url(stack), dbname=name)
        with granted(stack), psycopg.connect(url, autocommit=True) as there:
            for script in BASELINE:
                there.execute(script.read_bytes())
        yield name
