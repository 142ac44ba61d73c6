"""Scenes: what they are, where they come from, and what can be asked about them."""
