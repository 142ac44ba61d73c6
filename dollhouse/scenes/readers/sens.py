"""Reader of ScanNet's ``.sens`` streams: a header, then compressed colour and depth of each frame with its pose."""

from __future__ import annotations

import struct
from typing import Final

#: version, length of the sensor's name
PREAMBLE: Final = struct.Struct("<IQ")
#: intrinsics and extrinsics of colour, then of depth (4 x 16); compressions; width and height of colour and depth;
#: units of depth per metre; frames
HEADER: Final = struct.Struct("<64f2i4IfQ")
#: world from camera (16), times of colour and depth, bytes of colour and depth; these bytes follow
FRAME: Final = struct.Struct("<16f4Q")
VERSION: Final = 4
COLOUR_CODECS: Final = {0: "raw", 1: "png", 2: "jpeg"}
DEPTH_CODECS: Final = {0: "raw_ushort", 1: "zlib_ushort"}
