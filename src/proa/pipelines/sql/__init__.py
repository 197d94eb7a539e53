"""SQL files of a pipeline: tokens, statements, clauses and the declarations they make."""
