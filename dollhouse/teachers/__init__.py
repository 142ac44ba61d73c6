"""Teachers: models and data that answer questions about scenes, and the driver that writes their records."""
