"""Fixtures of all tests."""

import os
from collections.abc import Iterator

import pytest

from tests.fixtures.mentions import mention_config, mention_tokenizer

__all__ = ["LONG", "mention_config", "mention_tokenizer"]
#: tests that take minutes each
LONG = pytest.mark.skipif(not os.environ.get("DOLLHOUSE_LONG_TESTS"), reason="set DOLLHOUSE_LONG_TESTS=1")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let no test write to the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
