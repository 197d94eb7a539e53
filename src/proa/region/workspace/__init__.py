"""What people keep in a region: notebooks, files, secrets, and who may do what."""
