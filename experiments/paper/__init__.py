"""The paper's tables and figures at nano size: one specification, one runner, one cache (docs/guides/paper.md)."""
