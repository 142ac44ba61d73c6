"""The paper's tables and figures at nano size: one specification, one runner (docs/guides/paper_tables.md)."""
