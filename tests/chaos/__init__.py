"""Commands that are killed, or whose file operations fail, and are then run again."""
