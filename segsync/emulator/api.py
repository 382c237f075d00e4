"""The API as a function: a request in, an answer out. Knows nothing of sockets."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count

from segsync.emulator import control, import_api, runs, segment_api
from segsync.emulator.emulator import Emulator
from segsync.emulator.messages import ApiError, Request, Response, error, not_found
from segsync.emulator.world import World

Handler = Callable[[World, Request, Mapping[str, str]], Response]

IMPORTS = "/v1/datamarts/{datamart}/document_imports"
EXECUTIONS = IMPORTS + "/{import}/executions"


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path, the endpoint's name in fault scripts, and what answers."""

    method: str
    pattern: re.Pattern[str]
    endpoint: str
    handler: Handler


def _route(method: str, path: str, endpoint: str, handler: Handler) -> Route:
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1_>[^/]+)", path)
    return Route(method, re.compile(pattern + r"\Z"), endpoint, handler)


ROUTES = (
    _route("POST", IMPORTS, "create_import", import_api.create_import),
    _route("GET", IMPORTS, "list_imports", import_api.list_imports),
    _route("GET", IMPORTS + "/{import}", "get_import", import_api.get_import),
    _route("PUT", IMPORTS + "/{import}", "update_import", import_api.update_import),
    _route("DELETE", IMPORTS + "/{import}", "delete_import", import_api.delete_import),
    _route("POST", EXECUTIONS, "upload", import_api.upload),
    _route("GET", EXECUTIONS, "list_executions", import_api.list_executions),
    _route("GET", EXECUTIONS + "/{execution}", "get_execution", import_api.get_execution),
    _route(
        "POST",
        EXECUTIONS + "/{execution}/action",
        "cancel_execution",
        import_api.act_on_execution,
    ),
    _route("GET", "/v1/data_file/data", "error_file", import_api.data_file),
    _route("GET", "/v1/audience_segments", "segment_lookup", segment_api.list_segments),
    _route("GET", "/v1/audience_segments/{segment}", "segment_lookup", segment_api.get_segment),
    _route("POST", "/v1/audience_segments", "create_segment", segment_api.create_segment),
    _route(
        "GET",
        "/v1/datamarts/{datamart}/user_points/{selector}/user_segments(?:/(?P<filter>[^/]+))?",
        "user_segments",
        segment_api.user_segments,
    ),
    _route(
        "GET",
        "/v1/datamarts/{datamart}/user_segments/(?P<selector>[^/]+(?:/[^/]+)?)",
        "user_segments",
        segment_api.user_segments,
    ),
)


class Api:
    """The documented API over an emulator, and its controls under /_emulator/."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self.world = emulator.world
        self._error_numbers = count(1)

    def endpoint(self, method: str, path: str) -> str:
        """The name of what a request is for; `unknown` where there is nothing."""
        route, _ = _find(method, path)
        return route.endpoint if route else "unknown"

    def handle(self, request: Request) -> Response:
        """The answer to a request, all its effects done."""
        try:
            if request.path.startswith(control.PREFIX):
                return control.handle(self._emulator, request)
            self.check_token(request)
            route, parameters = _find(request.method, request.path)
            if route is None:
                raise not_found()
            with self.world.lock:
                runs.settle(self.world)
                self._check_datamart(parameters)
                response = route.handler(self.world, request, parameters)
                self._emulator.save()
                return response
        except ApiError as problem:
            return self._error(problem)
        except Exception as crash:
            self.world.crashes.append(crash)
            return self._error(ApiError(500, "Internal Server Error", "INTERNAL_ERROR"))

    def refusal_before_body(self, request: Request, size: int | None) -> Response | None:
        """An answer that need not wait for an upload's body of `size` bytes, if there is one."""
        try:
            self.check_token(request)
            behaviour = self.world.behaviour
            if behaviour.too_large_answer == "early" and size is not None:
                import_api.check_size(size, behaviour)
        except ApiError as problem:
            return self._error(problem)
        return None

    def check_token(self, request: Request) -> None:
        """The Authorization header must be the bare token. Raises ApiError."""
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), self.world.token.encode()):
            status = self.world.behaviour.bad_token_status
            raise ApiError(status, "Unauthorized", "UNAUTHORIZED")

    def _check_datamart(self, parameters: Mapping[str, str]) -> None:
        if parameters.get("datamart", self.world.datamart_id) != self.world.datamart_id:
            raise not_found()

    def _error(self, problem: ApiError) -> Response:
        return error(problem, f"emulator-{next(self._error_numbers)}")


def _find(method: str, path: str) -> tuple[Route | None, dict[str, str]]:
    for route in ROUTES:
        match = route.pattern.match(path)
        if match and route.method == method:
            found = {name.rstrip("_"): value for name, value in match.groupdict().items() if value}
            return route, found
    return None, {}
