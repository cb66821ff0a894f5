"""The names of the formats that can be written. Imports nothing, so that the command line can list them quickly."""

FORMATS = ("diffusers", "diffusers_bin", "a1111", "a1111_png", "emb_params", "sdxl", "comfy", "onetrainer")
"""The embedding files that can be written. Each is the module of this name, which has a `FORMAT`."""
PIPELINE = "pipeline"
"""A diffusers pipeline that contains the token; written by `tinv.inference.export_pipeline`."""
EXPORT_FORMATS = (*FORMATS, PIPELINE)
"""The choices of `callbacks.export.formats` and `tinv convert --to`."""
