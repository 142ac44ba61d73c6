"""Dollhouse: distil a large 3D teacher into a small student that answers questions about a room from photos."""
