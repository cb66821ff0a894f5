"""Tables for a terminal."""

from collections.abc import Sequence


def align_columns(rows: Sequence[Sequence[object]], *, align_right: bool = False) -> str:
    """Formats rows of cells as aligned columns, two spaces apart; `align_right` concerns all columns but the first."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if align_right and i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in cells
    )
