"""Which images belong together: those of one patient, and copies of one another."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from engine.images.folder_contents import Contents
from engine.images.image_folder import Example


def connected(examples: Sequence[Example], contents: Contents) -> dict[str, str]:
    """Path -> group: the connected components of "same patient or same content"."""
    parent: dict[str, str] = {}

    def find(node: str) -> str:
        while (above := parent.setdefault(node, node)) != node:
            parent[node] = parent[above]
            node = above
        return node

    for example in examples:
        mine = find(f"path {example.path}")
        others = [f"patient {example.patient}"] if example.patient else []
        if digest := content_key(example.path, contents):
            others.append(f"content {digest}")
        for other in others:
            low, high = sorted((mine, find(other)))
            parent[high] = mine = low
    return {example.path: find(f"path {example.path}") for example in examples}


def content_key(path: str, contents: Contents) -> str:
    """The hash of a file; '' for the unreadable and the empty, which are not alike as images."""
    return "" if path in contents.empty else contents.keys[path]


def members(examples: Sequence[Example], groups: Mapping[str, str]) -> dict[str, list[Example]]:
    """Group -> its examples, in the order given."""
    by_group: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_group[groups[example.path]].append(example)
    return by_group
