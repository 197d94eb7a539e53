"""Worker processes: what does a region's work, apart from its server."""
