"""``/toolkit/v1/faults``: inject faults into a running stack from another process.

    GET                                          the kinds there are, and what has struck so far
    POST {"fault": "L6", "count": 1, "rate": 1}   inject; "fault" is NAME or NAME:ARGUMENT
    DELETE [?name=…]                             disarm one, or all

Like everything of the stack it listens on 127.0.0.1 only; the key must be that of ``service_role``, so that no page in
a browser on this machine can do it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from realtime_toolkit.errors import InputError
from realtime_toolkit.stack.front import bodies
from realtime_toolkit.stack.realtime.faults import KINDS

if TYPE_CHECKING:
    from starlette.requests import Request

    from realtime_toolkit.stack.auth.keys import Keys
    from realtime_toolkit.stack.realtime.faults import Faults


def admin_app(faults: Faults, keys: Keys) -> Starlette:
    """The app below ``/toolkit/v1``; the gateway has turned every key into its JWT before."""

    async def endpoint(request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {keys.service_role}":
            return JSONResponse({"message": "the service_role key is needed"}, 403)
        try:
            return await _METHODS[request.method](faults, request)
        except InputError as error:
            return JSONResponse({"message": str(error)}, 422)
        except bodies.TooLargeError as error:
            return JSONResponse({"message": str(error)}, 413)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it

    return Starlette(routes=[Route("/faults", endpoint, methods=list(_METHODS))])


_SHOWN = ("name", "alias", "argument", "at_once", "effect")
_BODY_MAX = 1 << 16


async def _show(faults: Faults, request: Request) -> Response:
    kinds = [{name: getattr(kind, name) for name in _SHOWN} for kind in KINDS]
    struck = [asdict(fault) for fault in faults.struck]
    return JSONResponse({"seed": faults.seed, "kinds": kinds, "struck": struck})


async def _inject(faults: Faults, request: Request) -> Response:
    name, options = _asked(await bodies.read(request, _BODY_MAX))
    return JSONResponse(asdict(faults.inject_text(name, **options)))


async def _clear(faults: Faults, request: Request) -> Response:
    faults.clear(request.query_params.get("name"))
    return Response(status_code=204)


_METHODS = {"GET": _show, "POST": _inject, "DELETE": _clear}


def _asked(body: bytes) -> tuple[str, dict[str, Any]]:
    """Raises :class:`InputError` for anything that is not such a request."""
    try:
        asked = json.loads(body)
        name, count, rate = str(asked["fault"]), asked.get("count", 1), float(asked.get("rate", 1.0))
        return name, {"count": None if count is None else int(count), "rate": rate}
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        raise InputError('not a request for a fault: write {"fault": "NAME[:ARGUMENT]"}') from None
