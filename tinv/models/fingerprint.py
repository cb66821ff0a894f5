"""What tells one frozen model from another."""

import json
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any

import torch
from torch import nn

from tinv.types import NoiseSchedule


def fingerprint(configs: Iterable[Mapping[str, Any]], schedule: NoiseSchedule, parts: Mapping[str, nn.Module]) -> str:
    """12 hex digits, from the configurations and the head of every tensor.

    The heads are rounded to bfloat16, so that the precision in which a model is loaded makes no difference.
    """
    digest = blake2b(digest_size=6)
    for config in configs:
        shape = {key: value for key, value in config.items() if isinstance(value, int | float) and key[0] != "_"}
        digest.update(json.dumps(shape, sort_keys=True).encode())
    digest.update(json.dumps([schedule.prediction_type, len(schedule.alphas_cumprod)]).encode())
    for name, tensor in nn.ModuleDict(parts).named_parameters():
        head = tensor.detach().flatten()[:16].to("cpu", torch.bfloat16).view(torch.int16)
        digest.update(name.encode() + bytes(head.numpy().tobytes()))
    return digest.hexdigest()
