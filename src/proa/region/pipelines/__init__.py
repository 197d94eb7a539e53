"""Pipelines, their updates and their events."""
