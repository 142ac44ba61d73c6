# A server of the shipped student: docs/guides/serve.md has the commands.
FROM debian:trixie-slim

RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 1000 dollhouse

COPY . /src
RUN python3 -m venv /opt/dollhouse \
 && /opt/dollhouse/bin/pip install --no-cache-dir -c /src/constraints.txt '/src[serve]' \
 && rm -rf /src

# The root may be read-only; uploads are kept in the volume.
VOLUME /scenes
RUN mkdir -p /scenes && chown dollhouse /scenes
USER dollhouse
ENV HOME=/tmp XDG_CACHE_HOME=/tmp/cache PYTHONDONTWRITEBYTECODE=1
EXPOSE 8000
HEALTHCHECK --interval=30s --start-period=60s \
 CMD ["/opt/dollhouse/bin/python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/ready')"]
ENTRYPOINT ["/opt/dollhouse/bin/dollhouse", "serve", "--host", "0.0.0.0", "--store", "/scenes"]
