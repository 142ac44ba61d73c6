"""Synthetic rooms: furnished layouts, cameras, meshes and a ray caster."""
