"""Readers: they run on the engine's workers and turn bytes into Arrow batches."""
