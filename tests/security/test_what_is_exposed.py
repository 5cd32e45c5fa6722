"""What is not for clients is not to be reached by them, and no repr tells a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from realtime_toolkit import Listener, PostgresStore, RestStore, Settings

if TYPE_CHECKING:
    from realtime_toolkit.stack import LocalStack


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
@pytest.mark.parametrize(
    "path", ["rpc/scope_digest", "rpc/mark_work", "rpc/page_sql", "rpc/guarded_row", "tracked", "origin"]
)
async def test_no_route_leads_to_the_toolkits_own_schema(
    stack: LocalStack, user: str, role: str, path: str
) -> None:
    """scope_digest runs SQL from its arguments, as the caller; mark_work says that a statement is a worker's."""
    key = stack.service_role_key if role == "service_role" else stack.anon_key
    token = stack.token(user) if role == "authenticated" else key
    headers = {"apikey": key, "Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=f"{stack.url}/rest/v1/", headers=headers) as http:
        for profile in ("realtime_toolkit", "pg_catalog"):
            schema = {"Accept-Profile": profile, "Content-Profile": profile}
            answer = await http.post(path, json={}, headers=schema)
            assert (answer.status_code, answer.json()["code"]) == (406, "PGRST106")
        hidden = await http.post(path, json={})
        assert hidden.status_code == 404


def test_no_repr_tells_a_secret() -> None:
    secrets = ["s3cret-key", "s3cret-service", "s3cret-jwt", "s3cret-token", "s3cret-password"]
    key, service, jwt, token, password = secrets
    url, dsn = "http://127.0.0.1:1", f"postgresql://postgres:{password}@127.0.0.1:1/db"
    settings = Settings(
        url=url, anon_key=key, service_role_key=service, jwt_secret=jwt, access_token=token, database_url=dsn
    )
    store = RestStore(url, key, token)
    listener = Listener(url, key, token, "tenant:1", store)
    for thing in (settings, store, PostgresStore(dsn), listener, listener.replica):
        assert not [secret for secret in secrets if secret in repr(thing)], type(thing)
        assert "127.0.0.1" in repr(thing) or "tenant:1" in repr(thing)
