"""Optuna's plots of a study: plots/*.png in the sweep's folder."""

import warnings
from pathlib import Path
from typing import Any

from tinv.runs.files import write_atomically

PLOTS = ("optimization_history", "slice", "parallel_coordinate", "param_importances", "intermediate_values")
MIN_TRIALS = 2
"""How many trials must be completed before there is anything to compare."""


def draw_plots(study: Any, folder: Path, monitor: str) -> None:
    """Draws the plots that the study has data for; without matplotlib, draws nothing."""
    import optuna

    trials = study.get_trials(deepcopy=False)
    if sum(trial.state == optuna.trial.TrialState.COMPLETE for trial in trials) < MIN_TRIALS:
        return
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("agg")
    for name in PLOTS if any(trial.intermediate_values for trial in trials) else PLOTS[:-1]:
        with warnings.catch_warnings(), matplotlib.rc_context():
            warnings.simplefilter("ignore")  # Optuna warns on each call that these are experimental
            _draw(study, name, folder / "plots" / f"{name}.png", monitor)


def _draw(study: Any, name: str, path: Path, monitor: str) -> None:
    import matplotlib.pyplot as plt
    from optuna import visualization
    from optuna.importance import PedAnovaImportanceEvaluator

    options: dict[str, Any] = {} if name == "intermediate_values" else {"target_name": monitor}
    if name == "param_importances":
        options["evaluator"] = PedAnovaImportanceEvaluator()  # the other evaluators need scikit-learn
    try:
        getattr(visualization.matplotlib, f"plot_{name}")(study, **options)
        with write_atomically(path) as draft:
            plt.gcf().savefig(draft, format="png", dpi=120, bbox_inches="tight")
    except (ValueError, RuntimeError):  # for example, all values are the same
        return
    finally:
        plt.close("all")
