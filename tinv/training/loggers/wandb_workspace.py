"""A workspace of W&B for the runs of a project: loss, vitals, samples side by side, what a sweep found."""

from collections.abc import Sequence
from typing import Any

from tinv.errors import UserError
from tinv.optional_deps import remedy
from tinv.training.loggers.wandb_auth import check_credentials, load_wandb, unreachable

STEP = "trainer/global_step"
VITALS = ("norm_percentile", "cosine_to_start", "norm")


def dashboard(
    project: str, *, entity: str = "", name: str = "tinv", monitor: str = "val/loss", swept: Sequence[str] = ()
) -> Any:
    """The workspace; nothing is sent.

    Args:
        project: whose runs it shows.
        entity: whose project.
        name: the workspace's own.
        monitor: the number that runs are compared by.
        swept: settings that differ between the runs, by their dotted names.

    Raises:
        UserError: the library is not installed.
    """
    ws, wr = _libraries()
    return ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[
            _section(ws, "Loss", _curves(wr, [*dict.fromkeys([monitor, "train/loss", "train/lr"])]), columns=3),
            _section(ws, "Samples", [_sheets(wr), wr.WeavePanelSummaryTable(table_name="samples/table")], columns=2),
            _section(ws, "The word", _curves(wr, [f"embedding/{vital}" for vital in VITALS]), columns=3),
            _section(ws, "Sweep", _of_a_sweep(wr, monitor, swept), columns=2),
        ],
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=20),
        runset_settings=ws.RunsetSettings(order=[ws.Ordering(ws.Summary(monitor), ascending=True)]),
    )


def spec(workspace: Any) -> dict[str, Any]:
    """What the library would send, as plain values."""
    found: dict[str, Any] = workspace._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)
    return found


def save(workspace: Any) -> str:
    """Put the workspace where its runs are; returns its address.

    Raises:
        UserError: there is no key, or W&B does not take it.
    """
    wandb = load_wandb()
    check_credentials()
    try:
        workspace.entity = workspace.entity or wandb.Api().default_entity
        return str(workspace.save().url)
    except (wandb.Error, OSError, ValueError) as error:
        raise unreachable(error) from error


def _libraries() -> tuple[Any, Any]:
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
    except ImportError as error:
        raise UserError(
            f"tinv dashboard needs wandb-workspaces, which is missing{remedy('wandb_workspaces')}"
        ) from error
    return ws, wr


def _section(ws: Any, name: str, panels: Sequence[Any], *, columns: int) -> Any:
    rows = -(-len(panels) // columns)
    layout = ws.SectionLayoutSettings(columns=columns, rows=rows)
    return ws.Section(name=name, panels=list(panels), is_open=True, layout_settings=layout)


def _curves(wr: Any, names: Sequence[str]) -> list[Any]:
    return [wr.LinePlot(title=name, x=STEP, y=[name]) for name in names]


def _sheets(wr: Any) -> Any:
    """Steps across, runs down."""
    return wr.MediaBrowser(title="samples", media_keys=["samples"], grid_x_axis="step", grid_y_axis="run")


def _of_a_sweep(wr: Any, monitor: str, swept: Sequence[str]) -> list[Any]:
    columns = [wr.ParallelCoordinatesPlotColumn(metric=wr.Config(name), display_name=name) for name in swept]
    result = wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(monitor), display_name=monitor)
    return [
        wr.ParallelCoordinatesPlot(title=f"{monitor} by setting", columns=[*columns, result]),
        wr.ParameterImportancePlot(with_respect_to=monitor),
        *(wr.ScatterPlot(title=name, x=wr.Config(name), y=wr.SummaryMetric(monitor)) for name in swept),
        wr.RunComparer(diff_only="split"),
    ]
