"""Tables for a terminal."""

from collections.abc import Sequence


def align_columns(rows: Sequence[Sequence[object]], *, align_right: bool = False) -> str:
    """Formats rows as aligned columns, two spaces apart.

    Args:
        rows: cells of each line, the headings first.
        align_right: aligns every column except the first to the right.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if align_right and i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in cells
    )
