"""Secrets of this process: known here once, and removed from every text that is printed or saved."""

from __future__ import annotations

import json
import os
import re
from urllib.parse import quote, quote_plus

#: names of parameters that carry a secret, which belongs into the environment
SECRET_NAMES = re.compile(
    r"(\w+-)*((\w+_)?(api|subscription)[-_]?key|((access|auth|bearer|session)[-_]?)?token|secret|password|"
    r"authorization|cookie)|key|sig|signature",
    re.I,
)
_VARIABLES = re.compile(r"(\w*_)?(key|token|secret|passw(or)?d|passphrase)", re.I)  #: such as OPENAI_API_KEY
_MIN_PART = 12  #: characters of a secret that is cut
_MIN_LENGTH = 8  #: characters; shorter values, such as "EMPTY", are words of other texts too
#: in a command or a traceback: a URL's password, a value after a secret's name, or what looks like a service's key
_WRITTEN_OUT = re.compile(
    r"(?<=//)[^/\s@]+(?=@)|\b(?:sk|hf|ghp|pk)[-_][\w-]{16,}|"
    r"(?P<name>(?:(?:api|access|subscription)[-_]?key|\btoken|[-_]token|secret|password|authorization|cookie|[?&]key)"
    r"[\"']?\s*[=:]\s*[\"']?)(?!\$)(?:(?:bearer|basic)\s+)?[^\s\"',;&}]+",
    re.I,
)
_hidden: set[str] = set()
_pattern = re.compile(r"(?!)")


def spellings(secret: str) -> set[str]:
    """Return a secret as it stands in URLs, JSON and messages about bytes, whole and its longer parts."""
    parts = {secret, *(part for part in re.findall(r"[^\s=:,;&@]+", secret) if len(part) >= _MIN_LENGTH)}
    forms = set(parts)
    for part in parts:
        forms |= {json.dumps(part)[1:-1], quote(part, "", errors="replace"), quote_plus(part, errors="replace")}
        forms |= {repr(part.encode(code, "replace"))[2:-1] for code in ("utf-8", "latin-1")}
    return forms - {""}


def hide_secrets(*secrets: str) -> None:
    """Let :func:`redact` remove these secrets and those of the environment, but for those that are too short."""
    global _pattern
    known = (*secrets, *(value for name, value in os.environ.items() if _VARIABLES.fullmatch(name)))
    _hidden.update(form for secret in known for form in spellings(secret) if len(form) >= _MIN_LENGTH)
    _pattern = re.compile("|".join(map(re.escape, sorted(_hidden, key=len, reverse=True))) or r"(?!)")


def redact(text: str) -> str:
    """Return ``text`` with hidden secrets replaced by ``***``."""
    return _pattern.sub("***", text)


def mask(text: str) -> str:
    """Return a message, command or traceback without hidden secrets, parts of them, and what looks like a secret."""
    text = redact(text)
    for form in _hidden:  # a message that quotes a file may cut what stands there
        for length in range(len(form) - 1, _MIN_PART - 1, -1):
            text = text.replace(form[-length:], "***").replace(form[:length], "***")
    return _WRITTEN_OUT.sub(lambda match: (match["name"] or "") + "***", text)
