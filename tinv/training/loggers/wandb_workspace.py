"""A W&B workspace for the runs of a project: loss, samples, embedding statistics and sweeps."""

from collections.abc import Sequence
from typing import Any

from tinv.errors import UserError
from tinv.optional_deps import install_hint
from tinv.training.loggers.wandb_run import STEP, check_credentials, connection_error, import_wandb

_EMBEDDING_STATS = ("norm_percentile", "cosine_to_start", "norm")


def build_workspace(
    project: str, *, entity: str = "", name: str = "tinv", monitor: str = "val/loss", swept: Sequence[str] = ()
) -> Any:
    """Returns the workspace without sending it.

    Args:
        monitor: metric by which runs are compared.
        swept: dotted names of the settings that differ between the runs.

    Raises:
        UserError: wandb-workspaces is not installed.
    """
    ws, wr = _import_libraries()

    def section(title: str, panels: Sequence[Any], *, columns: int) -> Any:
        layout = ws.SectionLayoutSettings(columns=columns, rows=-(-len(panels) // columns))
        return ws.Section(name=title, panels=list(panels), is_open=True, layout_settings=layout)

    def curves(metrics: Sequence[str]) -> list[Any]:
        return [wr.LinePlot(title=metric, x=STEP, y=[metric]) for metric in dict.fromkeys(metrics)]

    sheets = wr.MediaBrowser(title="samples", media_keys=["samples"], grid_x_axis="step", grid_y_axis="run")
    axes = [wr.ParallelCoordinatesPlotColumn(metric=wr.Config(setting), display_name=setting) for setting in swept]
    axes.append(wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(monitor), display_name=monitor))
    sweep = [
        wr.ParallelCoordinatesPlot(title=f"{monitor} by setting", columns=axes),
        wr.ParameterImportancePlot(with_respect_to=monitor),
        *(wr.ScatterPlot(title=setting, x=wr.Config(setting), y=wr.SummaryMetric(monitor)) for setting in swept),
        wr.RunComparer(diff_only="split"),
    ]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[
            section("Loss", curves([monitor, "train/loss", "train/lr"]), columns=3),
            section("Samples", [sheets, wr.WeavePanelSummaryTable(table_name="samples/table")], columns=2),
            section("Embedding", curves([f"embedding/{stat}" for stat in _EMBEDDING_STATS]), columns=3),
            section("Sweep", sweep, columns=2),
        ],
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=20),
        runset_settings=ws.RunsetSettings(order=[ws.Ordering(ws.Summary(monitor), ascending=True)]),
    )


def workspace_json(workspace: Any) -> dict[str, Any]:
    """Returns what `save_workspace` would send, as plain values."""
    return dict(workspace._to_model().model_dump(mode="json", by_alias=True, exclude_none=True))


def save_workspace(workspace: Any) -> str:
    """Saves the workspace in its project; returns its URL.

    Raises:
        UserError: there is no API key, or W&B does not accept it.
    """
    wandb = import_wandb()
    check_credentials()
    try:
        workspace.entity = workspace.entity or wandb.Api().default_entity
        return str(workspace.save().url)
    except (wandb.Error, OSError, ValueError) as error:
        raise connection_error(error) from error


def _import_libraries() -> tuple[Any, Any]:
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
    except ImportError as error:
        hint = install_hint("wandb_workspaces")
        raise UserError(f"tinv dashboard needs wandb-workspaces, which is missing{hint}") from error
    return ws, wr
