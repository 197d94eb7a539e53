"""State of streaming queries: what operators remember between batches, and what they let through."""
