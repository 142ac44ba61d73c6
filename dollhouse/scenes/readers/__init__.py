"""Readers of scenes on disk, one format a module; :data:`dollhouse.scenes.open.READERS` registers them."""
