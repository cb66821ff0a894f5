"""How Lightning writes and reads checkpoint files: atomically, with a digest that is verified before unpickling."""

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from tinv.errors import UserError
from tinv.runs.checkpoint_digest import add_digest, read_verified
from tinv.runs.files import write_atomically

_REQUIRED_KEYS = ("state_dict", "optimizer_states", "lr_schedulers", "loops", "global_step", "tinv")


class VerifiedCheckpointIO(TorchCheckpointIO):
    """Writes and reads every checkpoint of a trainer, also those that Lightning's own callbacks save."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes a checkpoint.

        Raises:
            UserError: the disk is full, or the path is not writable.
        """
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with write_atomically(path) as draft:
            draft.write_bytes(add_digest(content.getvalue()))

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        """Reads a checkpoint.

        Raises:
            UserError: it is damaged, or not one of a training run.
        """
        verified = io.BytesIO(read_verified(Path(path)))
        try:
            content = torch.load(verified, map_location=map_location, weights_only=weights_only)
        except Exception as error:  # a pickle that another program made can fail in any way
            problem = f"not written by tinv ({type(error).__name__})"
            raise UserError(f"checkpoint {path}: {problem}. Resume from another one.") from error
        if missing := [key for key in _REQUIRED_KEYS if not isinstance(content, dict) or key not in content]:
            raise UserError(f"checkpoint {path}: it has no {', '.join(missing)}. Resume from another one.")
        return dict(content)
