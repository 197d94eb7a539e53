"""SQL over the shares: the region's own statements, on the active region's tables, for one recipient each."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from proa.gateway.active_region import Serving
from proa.gateway.gateway import Gateway
from proa.gateway.recipients import Recipient
from proa.gateway.shares import Shares
from proa.http.api_errors import MissingError
from proa.region.statements.statements import Statement, Statements
from proa.region.workers.port import Workers


class SharedStatements:
    """The statements of one epoch; with the next epoch they are over, and so are their results."""

    def __init__(self, gateway: Gateway, workers: Workers) -> None:
        self._gateway = gateway
        self._workers = workers
        self._serving: Serving | None = None
        self._statements: Statements | None = None
        self._owners: dict[str, str] = {}
        """Of each statement: the token that asked for it."""
        self._lock = threading.Lock()

    def follow(self, serving: Serving | None) -> None:
        """End what was asked of another region; forget results that nobody has fetched for long."""
        with self._lock:
            if self._statements is not None and serving not in {None, self._serving}:
                self._statements.close()
                self._statements, self._owners = None, {}
            if self._statements is not None:
                self._statements.turn()

    def close(self) -> None:
        """End everything."""
        with self._lock:
            if self._statements is not None:
                self._statements.close()
        self._workers.close()

    def of(self, recipient: Recipient | None) -> RecipientStatements:
        """The statements of a recipient; None for whoever has a signed link.

        Raises UnavailableError while nothing can be served.
        """
        serving, region = self._gateway.now()
        with self._lock:
            if self._statements is None or serving != self._serving:
                if self._statements is not None:
                    self._statements.close()
                session = {
                    "options": dict(region.settings.options),
                    "engine": region.settings.engine.remote,
                }
                self._serving, self._owners = serving, {}
                self._statements = Statements(
                    self._gateway.clock,
                    self._gateway.ids,
                    self._workers,
                    lambda: session,
                    lambda: (),
                )
            return RecipientStatements(self._statements, self._owners, recipient, region.shares)


class RecipientStatements:
    """What one recipient may ask, and has asked."""

    def __init__(
        self,
        statements: Statements,
        owners: dict[str, str],
        recipient: Recipient | None,
        shares: Any,
    ) -> None:
        self._statements = statements
        self._owners = owners
        self._recipient = recipient
        self._shares = shares

    @property
    def secret(self) -> bytes:
        """Signs the links to results."""
        return self._statements.secret

    def execute(self, text: str, **how: Any) -> Statement:
        """Begin a statement over the recipient's tables. Raises UnavailableError."""
        assert self._recipient is not None
        tables = visible_tables(self._shares(), self._recipient)
        statement = self._statements.execute(text, tables=tables, **how)
        self._owners[statement.statement_id] = self._recipient.token_id
        return statement

    def get(self, statement_id: str) -> Statement:
        """A statement of the recipient. MissingError when there is none in this epoch."""
        owner = self._owners.get(statement_id)
        if owner is None or (self._recipient is not None and owner != self._recipient.token_id):
            raise MissingError(
                f"The statement {statement_id} was not found. Statements end when another region"
                " becomes active: run it again."
            )
        return self._statements.get(statement_id)

    def cancel(self, statement_id: str) -> None:
        """Forget about the answer. MissingError as for `get`."""
        self.get(statement_id)
        self._statements.cancel(statement_id)


def visible_tables(shares: Shares, recipient: Recipient) -> Sequence[Mapping[str, Any]]:
    """The tables that a recipient may read, as statements know them: a share is a catalog."""
    return [
        {"catalog": table.share, "schema": table.schema, "name": table.name, "url": table.url}
        for share in shares.names()
        if recipient.may_read(share)
        for table in shares.tables(share)
    ]
