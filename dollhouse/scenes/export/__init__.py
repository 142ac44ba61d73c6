"""Writers of scenes in formats that other programs open: PLY, glTF, JSON boxes, COLMAP."""
