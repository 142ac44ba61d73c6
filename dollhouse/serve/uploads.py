"""Uploads written to a folder as a scene; limits are checked before anything is decoded."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from dollhouse.errors import SceneError
from dollhouse.scenes.archives import open_archive
from dollhouse.scenes.images import open_photo
from dollhouse.scenes.readers.reader import PHOTO_SUFFIXES, VIDEO_SUFFIXES
from dollhouse.scenes.readers.video import open_container
from dollhouse.serve.limits import Limits, RequestError

_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_CHUNK = 1 << 20
_WHOLE = (*VIDEO_SUFFIXES, ".r3d")  # files that are a scene by themselves


@dataclass(frozen=True)
class Upload:
    """One file of a request."""

    name: str
    content: BinaryIO


def write_upload(uploads: Sequence[Upload], folder: Path, limits: Limits) -> None:
    """Write photos, one video, or the files of one zip into a new folder.

    Raises RequestError (413 beyond a limit, 422 for files that do not go together or a damaged zip).
    """
    suffixes = [Path(upload.name).suffix.lower() for upload in uploads]
    if len(uploads) > 1 and {".zip", *_WHOLE} & set(suffixes):
        raise RequestError(422, "send photos, or one video, or one zip of a capture", "mixed_files", "files")
    if suffixes == [".zip"]:
        _unpack(uploads[0], folder, limits)
    else:
        if len(uploads) > limits.photos:
            raise RequestError(413, f"{len(uploads)} photos: send at most {limits.photos}", "too_many_photos", "files")
        for number, upload in enumerate(uploads, 1):
            name = _NAME.sub("_", upload.name.replace("\\", "/").rpartition("/")[2]).lstrip(".")[-80:]
            name = name if Path(name).suffix.lower() in (*PHOTO_SUFFIXES, *_WHOLE) else f"{name}.jpg"
            path = folder / (f"{number}_{name}" if (folder / name).exists() else name)
            with path.open("xb") as file:
                shutil.copyfileobj(upload.content, file, _CHUNK)
    check_pixels(folder, limits)


def scene_path(folder: Path) -> Path:
    """Return what to open of an upload's folder: its only file or folder, or itself."""
    inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return (
        scene_path(inside[0]) if len(inside) == 1 and inside[0].is_dir() else inside[0] if len(inside) == 1 else folder
    )


def check_pixels(folder: Path, limits: Limits) -> None:
    """Raise RequestError (413) for photos and videos whose header has too many pixels; readers judge all else."""
    for path in folder.rglob("*"):
        try:
            if path.suffix.lower() in PHOTO_SUFFIXES:
                with open_photo(path) as image:
                    width, height = image.size
            elif path.suffix.lower() in VIDEO_SUFFIXES:
                with open_container(path) as container:
                    size = container.streams.video[0].codec_context
                    width, height = size.width, size.height
            else:
                continue
        except SceneError:
            continue
        if width * height > limits.pixels:
            most = f"at most {limits.pixels // 1_000_000} megapixels"
            raise RequestError(413, f"{path.name}: {width}x{height} pixels are too many ({most})", "too_large", "files")


def data_upload(url: str, number: int) -> Upload:
    """Decode a ``data:`` URL of an image; RequestError (400) for any other URL, which is never fetched."""
    head, comma, data = url.partition(",")
    if not head.startswith("data:"):
        raise RequestError(400, "URLs are not fetched: send the photo as data:image/jpeg;base64,...", "url", "messages")
    if not comma or not head.endswith(";base64"):
        raise RequestError(400, f"photo {number}: send it as data:image/jpeg;base64,...", "bad_data_url", "messages")
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(400, f"photo {number}: is not base64 ({error})", "bad_base64", "messages") from error
    return Upload(f"{number}.jpg", io.BytesIO(content))


def upload_hash(uploads: Sequence[Upload], settings: Sequence[object]) -> str:
    """Return a hash of the bytes and names of an upload and its settings."""
    digest = hashlib.sha256(repr(settings).encode())
    for upload in uploads:
        digest.update(f"\0{upload.name}\0".encode("utf-8", "replace"))
        digest.update(hashlib.file_digest(upload.content, "sha256").digest())  # type: ignore[arg-type]
        upload.content.seek(0)
    return digest.hexdigest()


def _unpack(upload: Upload, folder: Path, limits: Limits) -> None:
    """Unpack the plain files of a zip, without links; names keep their folders."""
    packed = folder / "upload.zip"
    with packed.open("xb") as file:
        shutil.copyfileobj(upload.content, file, _CHUNK)
    try:
        archive = open_archive(packed)
    except SceneError as error:
        raise RequestError(422, "the zip is damaged, or no zip", "bad_zip", "files") from error
    with archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        total = sum(member.file_size for member in members)
        if len(members) > limits.files or total > limits.unpacked:
            size = f"{len(members)} files of {total >> 20} MB"
            most = f"at most {limits.files} files of {limits.unpacked >> 20} MB"
            raise RequestError(413, f"the zip unpacks to {size} ({most})", "too_large", "files")
        if total > limits.ratio * max(packed.stat().st_size, 4096):
            raise RequestError(413, f"the zip unpacks to more than {limits.ratio} times its size", "zip_ratio", "files")
        try:
            for member in members:
                _unpack_member(archive, member, folder)
        except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
            raise RequestError(422, f"the zip is damaged or encrypted ({error})", "bad_zip", "files") from error
    packed.unlink()


def _unpack_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    parts = PurePosixPath(member.filename.replace("\\", "/")).parts
    if not parts or ".." in parts or parts[0] == "/" or ":" in member.filename or "\0" in member.filename:
        raise ValueError("a name leads out of it")
    if "__MACOSX" in parts or (member.external_attr >> 16) & 0o170000 not in (0, 0o100000):
        return
    path = folder.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, path.open("xb") as file:
        shutil.copyfileobj(source, file, _CHUNK)
        if file.tell() > member.file_size:
            raise ValueError("a file is longer than its entry says")
