"""HTTP server of a student: scenes, an OpenAI-compatible chat, and a page."""
