"""Homes: made rooms furnished with Sweet Home 3D models as people furnish, seen by cameras like those of phones."""
