"""Probes of the thinking tokens: ablations, logit lens, attention and linear probes. Start at :mod:`.probe`."""
