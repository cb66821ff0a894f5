"""Weights load straight in `model.dtype`: no float32 copy of a component is ever in memory."""

import subprocess
import sys

import pytest
import torch
from diffusers import FluxTransformer2DModel
from transformers import T5Config, T5EncoderModel

from tests.models.published import save
from tests.models.published_transformers import published_transformer

FLUX = {"num_layers": 2, "num_single_layers": 3, "attention_head_dim": 64, "num_attention_heads": 16}
FLUX_INPUTS = {"in_channels": 16, "joint_attention_dim": 64, "pooled_projection_dim": 64, "axes_dims_rope": (16, 24, 24)}
T5 = {"vocab_size": 8000, "d_model": 1024, "d_kv": 64, "d_ff": 4096, "num_layers": 8, "num_heads": 16}
COMPONENTS = {
    "transformer": lambda: FluxTransformer2DModel(**FLUX, **FLUX_INPUTS),
    "text_encoder_2": lambda: T5EncoderModel(T5Config(**T5)),
}
MEASURE = """
import gc, threading, time, sys
from pathlib import Path
import torch
from tinv.models.components import load_modules
from tinv.models.flux1 import FLUX1

def anonymous_mib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))

def watch():
    while not done:
        peaks.append(anonymous_mib())
        time.sleep(0.001)

small, large, component = sys.argv[1:]
options = {"dtype": torch.bfloat16, "name": "model"}
load_modules(Path(small), Path(small), FLUX1, [component], **options)  # imports
gc.collect()
before, peaks, done = anonymous_mib(), [0.0], False
thread = threading.Thread(target=watch)
thread.start()
module = load_modules(Path(large), Path(large), FLUX1, [component], **options)[component]
done = True
thread.join()
size = sum(tensor.nbytes for tensor in module.parameters()) / 2**20
assert {tensor.dtype for tensor in module.parameters()} == {torch.bfloat16}
print(size, max(peaks) - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process as Linux reports it")
@pytest.mark.parametrize("component", COMPONENTS)
def test_a_float32_component_loads_in_bfloat16_without_a_float32_copy(component, tmp_path):
    """Pages of the mapped file do not count: the system takes them back at any time."""
    with torch.device("meta"):
        module = COMPONENTS[component]()
    module.to_empty(device="cpu").save_pretrained(tmp_path / component)
    file_mib = sum(path.stat().st_size for path in (tmp_path / component).glob("*.safetensors")) / 2**20
    small = save(published_transformer("flux1_dev"), tmp_path / "small")
    command = [sys.executable, "-c", MEASURE, str(small), str(tmp_path), component]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    size, peak = map(float, done.stdout.split())
    assert file_mib > 400 and size < 0.51 * file_mib
    assert peak < 1.1 * size
