"""API keys and other secrets of a server: read from the environment, checked once, removed from every text."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping

from dollhouse.errors import TeacherError
from dollhouse.system.secrets import SECRET_NAMES, hide_secrets, spellings


def read_key(variable: str) -> str | None:
    """Return the key in an environment variable without surrounding white space, or None where it is not set.

    Raises TeacherError, without the key, where it is empty or holds a character that no header can carry.
    """
    value = os.environ.get(variable)
    if value is None:
        return None
    hide_secrets(value)
    key = value.strip().removeprefix("\ufeff").removeprefix("Bearer ").strip()
    if not key:
        raise TeacherError(f"the key in {variable} is empty: set the variable to the server's key, or unset it")
    if not all("!" <= character <= "~" for character in key):
        raise TeacherError(
            f"the key in {variable} holds a space, a line end or a character outside ASCII: copy it again"
        )
    return key


def resolve_variables(values: Mapping[str, str], setting: str) -> tuple[dict[str, str], list[str]]:
    """Replace values such as ``$PROXY_KEY`` by the environment's; return all values, and those replaced.

    Raises TeacherError where a variable is not set, a value cannot be sent, or a secret is written out.
    """
    resolved, secrets = {}, []
    for name, value in values.items():
        if value.startswith("$"):
            secret = read_key(value[1:])
            if secret is None:
                raise TeacherError(f"setting {setting}: the environment variable {value[1:]} is not set")
            secrets.append(secret)
            value = secret
        elif SECRET_NAMES.fullmatch(name):
            raise TeacherError(f"setting {setting}: keys come from the environment only: write {name}=$VARIABLE")
        if not (name + value).isascii() or not (name + value).isprintable():
            raise TeacherError(f"setting {setting}: {name} holds a character that cannot be sent")
        resolved[name] = value
    return resolved, secrets


class Redactor(logging.Filter):
    """Replace secrets by ``***`` in texts, and in log records as a filter."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__()
        self._secrets = sorted({form for secret in secrets for form in spellings(secret)}, key=len, reverse=True)

    def redact(self, text: str) -> str:
        """Return ``text`` without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the message of a log record; every record passes."""
        record.msg, record.args = self.redact(record.getMessage()), ()
        return True
