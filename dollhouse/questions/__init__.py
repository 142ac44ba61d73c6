"""Questions about scenes with answers from box geometry: facts, templates, answer balance and sampling."""
