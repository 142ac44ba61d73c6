"""Tables of figures with what each is computed from, and their verification without a model."""
