"""Reader of plain photos: one file, a folder of them, or a folder with ``images/``. No depth or scale."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from dollhouse.errors import SceneError
from dollhouse.scenes.framing import frame_views
from dollhouse.scenes.images import WORKING_PIXELS, check_image, has_few_colours, image_size, read_image
from dollhouse.scenes.photo_cameras import panorama_views, read_photo_metadata
from dollhouse.scenes.readers.reader import PHOTO_SUFFIXES, FaultLog, Reader, describe_unused, list_photos
from dollhouse.scenes.scene import Scene, View, spaced_indices

_WIDE = 2.2  #: width over height from which a photo is hardly one pinhole view
_MAP_NAME = re.compile(r"[\W_]*(?:mask|seg|segmentation|semantic|instance|label|depth|confidence|normal|alpha)s?[\W_]*")
_MAP_COLOURS = 64
_SCAN_FOLDERS = ("color", "rgb")  # of scans; without the poses, plain photos


def open_photos(path: Path, *, skip_bad: bool = False, frames: int | None = None) -> Scene:
    """Open a photo, a folder of photos, or a folder with photos in ``images/`` (COLMAP's layout).

    Takes at most ``frames`` evenly spaced photos and checks them. ``skip_bad`` leaves out those that do not decode and
    lists their faults in ``metadata["skipped"]``; otherwise the first raises SceneError. Photos of several shapes are
    brought to one grid (``metadata["framing"]``), panoramas are cut into views, and a focal length in EXIF becomes the
    view's intrinsics (``metadata["focal"]``). Masks beside photos are left out. ``metadata["unused"]`` counts what
    else lies in the folder.
    """
    if path.is_file():
        check_image(path)
    photos, unused = ([path], "") if path.is_file() else _list_folder(path)
    if not photos:
        raise SceneError(f"{path}: contains no photos ({', '.join(sorted(PHOTO_SUFFIXES))})")
    if not skip_bad and not path.is_file() and photos[0].parent != path and photos[0].parent.name in _SCAN_FOLDERS:
        raise SceneError(f"{path}: has {photos[0].parent.name}/ but no poses; --skip-bad takes it for plain photos")
    log = FaultLog(skip_bad, "photos")
    views: list[View] = []
    sizes: list[tuple[int, int]] = []
    sources: list[str] = []
    warnings: list[str] = []
    photo_sizes: dict[str, tuple[int, int]] = {}  # as stored, by view
    for index in spaced_indices(len(photos), frames):
        photo = photos[index]
        with log.collect():
            check_image(photo)
            header = read_photo_metadata(photo)
            width, height = header.size
            if header.equirectangular:
                cut, size = panorama_views(photo, width)
                warnings.append(f"{photo.name} is a panorama: it is cut into {len(cut)} level views of 90 degrees")
                views += cut
                sizes += [size] * len(cut)
                sources.append("panorama")
                continue
            if width > _WIDE * height:
                warnings.append(f"{photo.name} is very wide ({width / height:.1f}:1) and is taken for one plain view")
            views.append(View(photo.name, partial(read_image, photo, WORKING_PIXELS), header.intrinsics))
            sizes.append(header.size)
            photo_sizes[photo.name] = image_size(photo)
            sources.append(header.focal_source)
    if not views:
        raise SceneError(f"{path}: none of its {len(log.faults)} photos can be used; the first fault: {log.faults[0]}")
    if len(sources) > 1:  # several cameras: the rotations of one panorama are not poses in a common world
        views = [replace(view, world_from_camera=None) for view in views]
    framed, framing = frame_views(views, sizes)
    focal = ", ".join(f"{source} ({count})" for source, count in Counter(sources).items())
    metadata = {"source": str(path), "skipped": tuple(log.faults), "focal": focal, "unused": unused, **framing}
    metadata |= {"warnings": tuple(warnings), "photo_sizes": photo_sizes}
    scene = Scene(path.resolve().name, framed, metric=False, metadata=metadata)
    return scene if frames is None else scene.sample_views(frames)


def _matches(path: Path) -> bool:
    return bool(_list_photos(path)) if path.is_dir() else path.suffix.lower() in PHOTO_SUFFIXES


def _list_photos(folder: Path) -> list[Path]:
    places = (folder, *(folder / name for name in ("images", *_SCAN_FOLDERS)))
    return next((photos for place in places if (photos := list_photos(place))), [])


def _list_folder(folder: Path) -> tuple[list[Path], str]:
    """List the photos of a folder without masks, and describe in a line what else lies in it."""
    images = _list_photos(folder)
    maps = _list_maps(images)
    photos = [image for image in images if image not in maps]
    places = {folder: 0, **dict.fromkeys(photo.parent for photo in photos)}
    kinds = dict.fromkeys(maps, "mask or depth map")
    kinds |= {photo.with_suffix(suffix): "video of a Live Photo" for photo in photos for suffix in (".mov", ".MOV")}
    unused = [describe_unused(place, {*photos, *places}, kinds) for place in places]
    return photos, ", ".join(filter(None, unused))


def _list_maps(images: list[Path]) -> set[Path]:
    """Find masks and depth maps: named after another photo, or of its stem with few colours."""
    maps = set()
    stems = Counter(image.stem.lower() for image in images)
    names = {*stems, *(image.name.lower() for image in images)}
    for image in images:
        stem = image.stem.lower()
        partner = _MAP_NAME.sub("", stem)
        twin = stems[stem] > 1 and image.suffix.lower() in (".png", ".bmp", ".tif", ".tiff", ".gif")
        named_after = stem.endswith(tuple(PHOTO_SUFFIXES)) and stem in names
        with suppress(SceneError):  # of a broken image
            if named_after or (partner != stem and partner in names) or (twin and has_few_colours(image, _MAP_COLOURS)):
                maps.add(image)
    return maps


PHOTOS = Reader("a photo or a folder of photos", _matches, open_photos)
