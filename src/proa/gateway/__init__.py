"""The one address that consumers read: Delta Sharing and SQL, from whichever region is active."""
