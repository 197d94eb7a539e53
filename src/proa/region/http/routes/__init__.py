"""The HTTP edge: one module per part of the API, each with a `router`. No rules live here."""
