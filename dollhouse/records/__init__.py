"""Records: what teachers returned for scenes, stored on disk and checked on every read."""
