"""The embedded engine gives the answers of Apache Spark: a pass over each plan before it is computed.

A plan's SQL text and expressions are read into nodes (`nodes`), typed bottom-up (`typist`), and the
rules (`rules*`) put in the place of each call whose answer would differ another expression, often one
of Proa's own vectorised functions (`kernels*`). What has no equal is refused by name.
"""

from proa.engine.parity.passes import Parity

__all__ = ["Parity"]
