"""SQL statements from outside."""
