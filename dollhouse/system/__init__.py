"""The machine below the models: files, memory, progress, hashes and what a bug report needs."""
