"""The HTTP edge: the application, what every request passes, and the routes."""
