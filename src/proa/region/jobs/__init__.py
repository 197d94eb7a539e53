"""Jobs, their schedules and their runs."""
