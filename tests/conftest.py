"""Fixtures of all tests."""

from tests.fixtures.mentions import mention_config, mention_tokenizer

__all__ = ["mention_config", "mention_tokenizer"]
