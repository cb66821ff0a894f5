"""Which points can share a model in one process, and which cannot run there at all."""

from omegaconf import DictConfig, OmegaConf

from tinv.sweeps.subprocess_run import needs_subprocess

_PRECISIONS = ("32-true", "32", 32, "bf16-mixed", "bf16", "16-mixed", "16", 16, None)
_SHARED_TRAINER_SETTINGS = ("accelerator", "devices", "precision", "deterministic", "benchmark", "plugins")
"""Settings of the trainer that are global to the process, or place the model."""


def group_key(cfg: DictConfig) -> str:
    """Returns a text that is equal for points that can share a model."""
    trainer = {name: cfg.trainer.get(name) for name in _SHARED_TRAINER_SETTINGS}
    return OmegaConf.to_yaml(OmegaConf.create({"model": cfg.model, "trainer": trainer}))


def find_conflicts(cfg: DictConfig) -> list[str]:
    """Returns what `hydra/launcher=packed` cannot do of a point's settings."""
    problems = []
    if needs_subprocess(cfg):
        names = ("devices", "num_nodes", "strategy")
        texts = ", ".join(f"trainer.{name}={cfg.trainer[name]}" for name in names if name in cfg.trainer)
        problems.append(
            f"{texts}: hydra/launcher=packed runs each point on one device. Set trainer.devices=1 and "
            f"trainer.strategy=auto, or use hydra/launcher=gpus."
        )
    if (precision := cfg.trainer.get("precision")) not in _PRECISIONS:
        problems.append(
            f"trainer.precision={precision}: changes torch's default dtype for all runs of a process, so it does not "
            f"work with hydra/launcher=packed. Set model.dtype and trainer.precision=32-true instead."
        )
    datasets = {"data": cfg.data, **{f"extra_concepts.{name}.data": c.data for name, c in cfg.extra_concepts.items()}}
    problems += [
        f"{name}.num_workers={data.num_workers}: hydra/launcher=packed starts no processes from its threads. Set "
        f"{name}.num_workers=0; latents are cached."
        for name, data in datasets.items()
        if data.get("num_workers")
    ]
    if cfg.model.get("compile"):
        problems.append(
            "model.compile=true: compiles for one batch size, but hydra/launcher=packed joins batches of changing "
            "size. Set model.compile=false."
        )
    return problems
