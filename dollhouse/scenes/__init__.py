"""Scenes: posed or plain views of one place, their readers, and synthetic rooms."""
