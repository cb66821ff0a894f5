"""What happens beside the training: one file, one concern. None of it touches the training's randomness."""

from tinv.training.callbacks.answer_requests import AnswerRequests as AnswerRequests
from tinv.training.callbacks.check_learning import CheckLearning as CheckLearning
from tinv.training.callbacks.checkpoints import Checkpoints as Checkpoints
from tinv.training.callbacks.dvar_stopping import DVARStopping as DVARStopping
from tinv.training.callbacks.early_stopping import EarlyStopping as EarlyStopping
from tinv.training.callbacks.embedding_stats import EmbeddingStats as EmbeddingStats
from tinv.training.callbacks.evaluation import Evaluation as Evaluation
from tinv.training.callbacks.export import Export as Export
from tinv.training.callbacks.keep_best import KeepBest as KeepBest
from tinv.training.callbacks.nonfinite import StopOnNonFinite as StopOnNonFinite
from tinv.training.callbacks.optuna_pruning import OptunaPruning as OptunaPruning
from tinv.training.callbacks.progress import Progress as Progress
from tinv.training.callbacks.progress_file import ProgressFile as ProgressFile
from tinv.training.callbacks.run_card import RunCard as RunCard
from tinv.training.callbacks.samples import Samples as Samples
from tinv.training.callbacks.slurm_requeue import SlurmRequeue as SlurmRequeue
from tinv.training.callbacks.stop_on_signal import StopOnSignal as StopOnSignal
