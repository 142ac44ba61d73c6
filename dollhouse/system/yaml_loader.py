"""A YAML loader for files of users: plain values alone, bounded depth and aliases, no key twice."""

from __future__ import annotations

from typing import Any

import yaml

MAX_DEPTH = 64
MAX_VALUES = 10_000  #: with aliases written out


class PlainLoader(yaml.SafeLoader):
    """Load what JSON can hold; raises yaml.YAMLError and ValueError."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._depth = 0
        self._sizes: dict[int, int] = {}  #: values of each node, aliases written out

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} deep")
        is_alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if id(node) not in self._sizes:
            if is_alias:
                raise ValueError("an alias stands within what it names")
            children = node.value if isinstance(node, yaml.CollectionNode) else ()
            flat = [child for pair in children for child in (pair if isinstance(pair, tuple) else (pair,))]
            self._sizes[id(node)] = 1 + sum(self._sizes[id(child)] for child in flat)
            if self._sizes[id(node)] > MAX_VALUES:
                raise ValueError(f"more than {MAX_VALUES:,} values, aliases written out")
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise ValueError(f"the key {twice[0]!r:.60} occurs twice in line {node.start_mark.line + 1} or below")
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: Any) -> int:
        value: int = super().construct_yaml_int(node)
        if abs(value) >= 1 << 64:
            raise ValueError("a whole number of more than 64 bits")
        return value


def _refuse(loader: PlainLoader, node: Any) -> Any:
    raise ValueError(f"the tag {node.tag} is not read; write plain values")


PlainLoader.add_constructor("tag:yaml.org,2002:int", PlainLoader.construct_yaml_int)
for _tag in ("binary", "timestamp", "omap", "pairs", "set"):
    PlainLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", _refuse)
PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
