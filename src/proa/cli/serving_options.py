"""Options that all commands which serve have in common: TLS and logs.

Apart because three commands of different rooms share them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

TlsCertOption = Annotated[
    Path | None, typer.Option("--tls-cert", metavar="FILE", help="Certificate chain, PEM.")
]
TlsKeyOption = Annotated[
    Path | None, typer.Option("--tls-key", metavar="FILE", help="The certificate's key, PEM.")
]
LogJsonOption = Annotated[
    bool, typer.Option("--log-json", help="Logs as JSON lines; default when not a terminal.")
]
