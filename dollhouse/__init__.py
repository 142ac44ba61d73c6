"""Distil a large 3D vision-language teacher into a small student that needs only photos.

The public API is listed in ``__init__.pyi``; each name loads its module on first use, so importing this is quick.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
