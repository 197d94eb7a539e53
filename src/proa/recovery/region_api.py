"""Requests to a region's REST API: a server of Proa's or a Databricks workspace.

The SDK's classes take longer to import than all requests of a failover take. So a region that has a token
is asked without them; the SDK is asked for a login where there is no token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from proa.backoff import Retries
from proa.clock import Clock, RandomIds
from proa.errors import SettingsError, UnavailableError, UserError, one_line
from proa.extras import needs
from proa.settings import ApiSettings, ProjectSettings

_ANSWER_S, _RETRY_S = 15.0, 3.0
"""For one answer, and for trying again: a black hole must not hold a failover."""
_AGAIN = Retries(None, 0.2, 1.0)
_CAUSE = re.compile(
    r"^.*(?:connection: |\[Errno -?\d+\] )|\(host=[^)]*\): |^.*\bHTTPS?Connection(?:Pool)?(?=\b)",
    re.DOTALL,
)
_BUSY = frozenset({429, 503})
_REFUSED = frozenset({401, 403})


class RegionApi:
    """Asks one region's API, over connections that it keeps."""

    def __init__(self, region: str, api: ApiSettings, clock: Clock) -> None:
        with needs("control"):
            import requests
        self._region = region
        self._clock = clock
        self._ids = RandomIds()
        self._errors = requests.exceptions
        self._session = requests.Session()
        host, login = _login(region, api)
        self._host = host
        self._session.auth = _Login(login)

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The object that the API answers. Asks again for a moment while the server is busy or away.

        Raises UserError (PERMISSION_DENIED) for a token that it refuses, and UnavailableError, with the
        API's own words, for every other answer that is an error or does not come.
        """
        end = self._clock.monotonic() + _RETRY_S
        for pause in _AGAIN.pauses(self._ids):
            try:
                answer = self._session.request(
                    method,
                    self._host + path,
                    params=query,
                    json=body,
                    timeout=_ANSWER_S,
                    allow_redirects=False,
                )
            except (self._errors.ConnectionError, self._errors.ChunkedEncodingError) as error:
                # Neither a name that leads nowhere nor a wrong certificate is there a moment later.
                if self._clock.monotonic() + pause > end or isinstance(
                    error, self._errors.SSLError | self._errors.ConnectTimeout
                ):
                    raise self._silent(error) from error
            except (self._errors.RequestException, ValueError, OSError) as error:
                raise self._silent(error) from error
            else:
                if answer.status_code not in _BUSY or self._clock.monotonic() + pause > end:
                    return self._read(answer)
            self._clock.wait(pause)
        raise AssertionError("the pauses have no end")

    def pages(self, path: str, query: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """Yield the pages of a list."""
        token = None
        while True:
            asked = {**(query or {}), **({"page_token": token} if token else {})}
            page = self.ask("GET", path, query=asked)
            yield page
            token = page.get("next_page_token")
            if not token:
                return

    def _read(self, answer: Any) -> dict[str, Any]:
        """The answer's object. Raises what its status means."""
        try:
            found = answer.json()
        except ValueError:
            found = None
        status = answer.status_code
        if 200 <= status < 300 and isinstance(found, dict):
            return found
        if isinstance(found, dict) and (found.get("message") or found.get("error_code")):
            said = str(found.get("message") or found["error_code"])
        else:
            said = f"an answer that is not JSON (HTTP status {status})"
        if status in _REFUSED:
            raise UserError(
                f"{self._region} refuses the token of regions.{self._region}.api: {said}",
                condition="PERMISSION_DENIED",
            )
        raise UnavailableError(f"{self._region} does not answer as it should: {said}")

    def _silent(self, error: Exception) -> UnavailableError:
        return UnavailableError(
            f"{self._region} does not answer at {self._host}: {_last_cause(error)}"
        )


def _last_cause(error: Exception) -> str:
    """What of a chain of errors a person needs: `Connection refused`, and not who told it to whom."""
    inner: Any = error.args[0] if error.args else error
    text = one_line(getattr(inner, "reason", None) or inner)
    cause = _CAUSE.sub("", text).strip("'\" ")
    if cause.count(")") > cause.count("("):
        cause = cause.removesuffix(")").rstrip("'\" ")
    return cause or type(error).__name__


class _Login:
    """Puts headers on each request; the session then takes none from a `.netrc`."""

    def __init__(self, headers: Callable[[], Mapping[str, str]]) -> None:
        self._headers = headers

    def __call__(self, request: Any) -> Any:
        request.headers.update(self._headers())
        return request


def open_api(settings: ProjectSettings, region: str, clock: Clock) -> RegionApi:
    """The client of a region. Raises SettingsError when it has no address."""
    api = settings.region(region).api
    if api is None:
        raise SettingsError(
            f"regions.{region}.api is missing in proa.yml; it says where the region's API answers"
        )
    return RegionApi(region, api, clock)


def _login(region: str, api: ApiSettings) -> tuple[str, Callable[[], Mapping[str, str]]]:
    """The address of an API, and what makes the headers of a request to it."""
    if api.token:
        host = api.host if "://" in api.host else f"https://{api.host}"
        headers = {"Authorization": f"Bearer {api.token}"}
        return host.rstrip("/"), lambda: headers
    with needs("control"):
        from databricks.sdk.core import Config
    try:
        config = Config(host=api.host, http_timeout_seconds=int(_ANSWER_S))
    except ValueError as error:
        raise UserError(
            f"regions.{region}.api has no token, and the SDK finds no other login: {error}",
            condition="PERMISSION_DENIED",
        ) from error
    return str(config.host), config.authenticate
