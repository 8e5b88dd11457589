"""The columns of a CSV file that `--strata` names, for the examples of a split."""

import dataclasses
from collections.abc import Mapping, Sequence

from engine.base import setting_values
from engine.images import metadata
from engine.metrics.strata import Column


@dataclasses.dataclass(frozen=True)
class MetadataColumn:
    """What a file says of each image.

    Attributes:
        name, source: the names of the column and of its file.
        edges: limits between strata of numbers; None for the usual ones.
        values: path -> value.
    """

    name: str
    source: str
    edges: tuple[float, ...] | None
    values: Mapping[str, str]

    def of(self, paths: Sequence[str]) -> Column:
        """The column in the order of `paths`."""
        values = [self.values.get(path, "") for path in paths]
        return Column(self.name, self.source, values, self.edges)


def read(strata: str, paths: Sequence[str]) -> list[MetadataColumn]:
    """The columns that `--strata` names.

    Args:
        strata: see `engine.base.setting_values.parse_strata`.
        paths: the examples'.

    Raises:
        UserError: the file cannot be read, has no such column or describes none of the examples.
    """
    file, columns = setting_values.parse_strata(strata)
    return [
        MetadataColumn(name, file.name, edges, metadata.read_column(file, name, paths))
        for name, edges in columns
    ]
