"""The files of kohya's SDXL trainer, which every program reads: the tensors `clip_l` and `clip_g`."""

from tinv.formats.encoder_keys import saver
from tinv.formats.format import SDXL, Format

FORMAT = Format(name="sdxl", file_name="{slug}.safetensors", encoder_sets=(SDXL,), save=saver(dict))
