"""The stand-in's HTTP client: what the Databricks provider sends before and beside each call."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

USER_AGENT = "databricks-tf-provider/1.128.0 databricks-sdk-go/0.175.0 resource/standin auth/pat"
POLL_SECONDS = 0.1
GIVE_UP_SECONDS = 120
LOSING_SECONDS = 0.5


class CallError(Exception):
    """The server refused a call, or did not answer within the provider's time-out."""

    def __init__(self, status, code, message):
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code

    @property
    def missing(self):
        return self.status == 404 or self.code == "RESOURCE_DOES_NOT_EXIST"


class Workspace:
    """One region's server or Databricks workspace."""

    def __init__(self, host, token, *, retry_seconds, http_seconds):
        parts = urllib.parse.urlsplit(host)
        self._base = f"{parts.scheme}://{parts.netloc}"  # a path is dropped, as the provider does
        self._token = token
        self._retry_seconds = retry_seconds
        self._http_seconds = http_seconds
        self.workspace_id = None
        for _ in range(2):  # both halves of the provider ask
            facts = self._call("GET", "/.well-known/databricks-config", None, authorized=False)
            if not isinstance(facts.get("workspace_id"), str) or facts["host_type"] != "workspace":
                raise CallError(200, "MALFORMED", f"not a workspace's description: {facts}")
            self.workspace_id = facts["workspace_id"]

    def get(self, path, /, **query):
        suffix = f"?{urllib.parse.urlencode(query)}" if query else ""
        return self._call("GET", path + suffix, None)

    def post(self, path, body):
        return self._call("POST", path, body)

    def put(self, path, body):
        return self._call("PUT", path, body)

    def delete(self, path):
        return self._call("DELETE", path, None)

    def let_others_go_first(self):
        """Lose every race that can be lost."""
        threading.Event().wait(LOSING_SECONDS)

    def poll(self, look):
        """Call `look` until it answers something that is not None."""
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < deadline:
            found = look()
            if found is not None:
                return found
            threading.Event().wait(POLL_SECONDS)
        raise CallError(0, "TIMEOUT", "the expected state was not reached")

    def _call(self, method, path, body, *, authorized=True):
        headers = {"User-Agent": USER_AGENT, "Accept": "application/json"}
        if authorized:
            headers["Authorization"] = f"Bearer {self._token}"
            headers["X-Databricks-Workspace-Id"] = self.workspace_id
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(self._base + path, data, headers, method=method)
        deadline = time.monotonic() + self._retry_seconds
        while True:
            try:
                with urllib.request.urlopen(request, timeout=self._http_seconds) as answer:
                    return json.loads(answer.read() or b"{}")
            except urllib.error.HTTPError as error:
                refusal = _refusal(error)
                if error.code not in {429, 503} or time.monotonic() > deadline:
                    raise refusal from error
            except OSError as error:
                if time.monotonic() > deadline:
                    raise CallError(0, "UNAVAILABLE", f"{self._base}: {error}") from error
            threading.Event().wait(1)


def _refusal(error):
    try:
        body = json.loads(error.read())
    except ValueError:
        return CallError(error.code, "NOT_JSON", "received HTML response instead of JSON")
    return CallError(error.code, body.get("error_code", ""), body.get("message", ""))
