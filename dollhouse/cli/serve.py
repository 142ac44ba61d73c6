"""``dollhouse serve``: answer requests over HTTP, and show a page."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from dollhouse.cli.app import EngineOption, ModelOption, app, load_pipeline
from dollhouse.errors import StorageError


@app.command()
def serve(
    model: ModelOption = "nano",
    host: Annotated[str, typer.Option(help="Address to listen on; others than loopback need a firewall or --keys.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    store: Annotated[
        Path | None, typer.Option(help="Folder of uploaded scenes.", show_default="~/.cache/dollhouse/scenes")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(help="File of SHA-256 hashes of API keys, a line each; requests then need a key.")
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Name of this server in URLs; may be repeated. Default: any but on loopback."),
    ] = None,
    encoders: Annotated[int, typer.Option(min=1, help="Scenes to encode at once.")] = 1,
    memory: Annotated[int, typer.Option(min=1, help="Encoded scenes in memory, MB.")] = 512,
    disk: Annotated[int, typer.Option(min=1, help="Uploaded scenes on disk, MB; the least recently used go.")] = 4096,
    max_upload: Annotated[int, typer.Option(min=1, help="Largest request, MB.")] = 64,
    deadline: Annotated[float, typer.Option(min=1, help="Seconds that a request may take.")] = 60.0,
    engine: EngineOption = "auto",
) -> None:
    """Serve a page, scenes and an OpenAI-compatible chat over HTTP.

    Example: dollhouse serve --port 8000
    """
    try:
        from dollhouse.serve.app import create_app, listening, serve
        from dollhouse.serve.gate import LOOPBACK, read_hosts, read_keys
        from dollhouse.serve.limits import MEGABYTE, Limits
        from dollhouse.serve.service import SceneService
    except ImportError as error:
        raise StorageError(f"serving needs {error.name}; install it with: pip install 'dollhouse[serve]'") from error
    from dollhouse.system.folder_lock import locked_folder

    hashes = read_keys(keys) if keys else ()
    local = host in (*LOOPBACK, "::1")
    if not local and not hashes:
        print(f"warning: whoever reaches {host} can use this server; --keys asks for a key", file=sys.stderr)
    hosts = read_hosts(allow_host or (LOOPBACK if local else ["*"]))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = store or cache / "dollhouse" / "scenes"
    limits = replace(
        Limits(), memory=memory * MEGABYTE, store=disk * MEGABYTE, body=max_upload * MEGABYTE, deadline=deadline
    )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    with locked_folder(folder), listening(host, port) as sockets:
        service = SceneService(load_pipeline(model, engine), Path(model).name, folder, limits, encoders)
        address = f"[{host}]" if ":" in host else host
        print(f"page: http://{address}:{port}/  API: /v1  (Ctrl-C stops)", file=sys.stderr)
        serve(create_app(service, hashes, hosts), service, sockets)
