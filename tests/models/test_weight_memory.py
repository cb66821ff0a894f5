"""Weights load straight in `model.dtype`: no float32 copy of a component is ever in memory."""

import os
import subprocess
import sys

import pytest
import torch
from diffusers import FluxTransformer2DModel
from transformers import T5Config, T5EncoderModel

from tests.models.published import save
from tests.models.published_transformers import published_transformer

FLUX = {"num_layers": 2, "num_single_layers": 3, "attention_head_dim": 64, "num_attention_heads": 16}
FLUX_INPUTS = {
    "in_channels": 16,
    "joint_attention_dim": 64,
    "pooled_projection_dim": 64,
    "axes_dims_rope": (16, 24, 24),
}
T5 = {"vocab_size": 8000, "d_model": 1024, "d_kv": 64, "d_ff": 4096, "num_layers": 8, "num_heads": 16}
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process as Linux reports it")
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
from tinv.models.quantized_weights import stored_tensors

def anonymous_mib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))

def watch():
    while not done:
        peaks.append(anonymous_mib())
        time.sleep(0.001)

small, large, component, *kinds = sys.argv[1:]
options = {"dtype": torch.bfloat16, "quantization": dict.fromkeys([component], *kinds), "name": "model"}
load_modules(Path(small), Path(small), FLUX1, [component], **options)  # imports
gc.collect()
before, peaks, done = anonymous_mib(), [0.0], False
thread = threading.Thread(target=watch)
thread.start()
module = load_modules(Path(large), Path(large), FLUX1, [component], **options)[component]
done = True
thread.join()
size = sum(part.nbytes for tensor in module.parameters() for part in stored_tensors(tensor)) / 2**20
print(size, max(peaks) - before)
"""


def size_and_peak(component, folder, *quantization):
    """MiB of a component's weights in bfloat16 or quantized, and at the peak of loading them from float32."""
    with torch.device("meta"):
        module = COMPONENTS[component]()
    module.to_empty(device="cpu").save_pretrained(folder / component)
    assert sum(path.stat().st_size for path in (folder / component).glob("*.safetensors")) > 400 * 2**20
    small = save(published_transformer("flux1_dev"), folder / "small")
    command = [sys.executable, "-c", MEASURE, str(small), str(folder), component, *quantization]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # else glibc keeps freed blocks of less than 32 MB
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return map(float, done.stdout.split())


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_float32_component_loads_in_bfloat16_without_a_float32_copy(component, tmp_path):
    """Pages of the mapped file do not count: the system takes them back at any time."""
    size, peak = size_and_peak(component, tmp_path)
    assert 190 < size < 260 and peak < 1.1 * size


@pytest.mark.quantization
@pytest.mark.parametrize("component", COMPONENTS)
def test_weights_are_quantized_one_by_one(component, tmp_path):
    pytest.importorskip("torchao")
    size, peak = size_and_peak(component, tmp_path, "int8")
    assert 95 < size < 150 and peak < size + 80
