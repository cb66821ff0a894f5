"""Which programs load which of our files, as `tinv inspect` reports and docs/embedding-formats.md lists it.

The tests compare every answer with diffusers itself and with the loading rules of the other programs.
"""

from tinv.formats import comfy, onetrainer
from tinv.formats.content import Content
from tinv.formats.encoder_keys import COMFYUI
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.text_encoders import ModelEncoders

PROGRAMS = ("diffusers", "AUTOMATIC1111", "ComfyUI", "InvokeAI", "OneTrainer")
YES, NO = "yes", "no"
TOKEN = "`token=`"
BY_FILE, BY_TENSOR = "file by file", "tensor by tensor"
HALVES = "halves"
"""Each file reaches one text encoder, so that a prompt needs the names of all."""
IN_PART = "in part"
"""Some text encoders get vectors, the others none, without an error."""
_WEB_UI = ("SD 1", "SD 2", "SDXL")
"""The models of AUTOMATIC1111's web UI, Forge and InvokeAI that take embeddings."""


def find_format(content: Content, layout: str, embedding: LearnedEmbedding) -> str | None:
    """Returns the one of `FORMATS` that a file has, or None if it is another layout."""
    names = {name for name in content.names if not name.endswith("_out")}
    is_torch = content.container == "torch"
    match layout:
        case "diffusers":
            return "diffusers_bin" if is_torch else "diffusers"
        case "AUTOMATIC1111":
            return "a1111" if is_torch else "a1111_png"
        case "emb_params":
            return "emb_params" if "emb_params" in names else "onetrainer"
    if names == {"clip_l", "clip_g"}:
        return {"torch": "a1111", "image": "a1111_png"}.get(content.container, "sdxl")
    if names == comfy.name_tensors(embedding.vectors).keys():
        return "comfy"
    return "onetrainer" if names == onetrainer.name_tensors(embedding.vectors).keys() else None


def who_loads(format: str, model: ModelEncoders) -> dict[str, str]:
    """Returns how each of `PROGRAMS` loads a file of a format for a model: yes, no, or one of the words above."""
    answers = (_diffusers, _automatic1111, _comfyui, _invokeai, _onetrainer)
    return {program: answer(format, model) for program, answer in zip(PROGRAMS, answers, strict=True)}


def _diffusers(format: str, model: ModelEncoders) -> str:
    if not model.in_diffusers or format == "a1111_png":
        return NO
    if format.startswith("diffusers"):
        return YES if len(model.widths) == 1 else BY_FILE
    if len(model.widths) > 1:
        return BY_TENSOR
    return YES if format == "a1111" else TOKEN


def _automatic1111(format: str, model: ModelEncoders) -> str:
    is_split = format.startswith("diffusers") and len(model.widths) > 1
    return YES if model.title in _WEB_UI and not is_split else NO


def _comfyui(format: str, model: ModelEncoders) -> str:
    if not model.in_comfyui or format == "a1111_png":
        return NO
    if len(model.widths) == 1:
        return YES  # with one text encoder, the first tensor is as good as one of the right name
    if format.startswith("diffusers"):
        return HALVES if len(model.in_comfyui) == len(model.widths) else IN_PART
    names = [role for role in model.in_comfyui if format != "onetrainer" or role in COMFYUI[role].values()]
    return YES if len(names) == len(model.widths) else IN_PART


def _invokeai(format: str, model: ModelEncoders) -> str:
    formats = ("a1111", "emb_params") if len(model.widths) == 1 else ("a1111", "sdxl", "comfy", "onetrainer")
    return YES if model.title in _WEB_UI and format in formats else NO


def _onetrainer(format: str, model: ModelEncoders) -> str:
    if not model.in_onetrainer:
        return NO
    if format == "onetrainer" or (model.title == "SDXL" and format in ("a1111", "sdxl", "comfy")):
        return YES
    if format != "comfy" or model.title in ("SD 1", "SD 2"):
        return NO
    names = [role in COMFYUI[role].values() for role in model.widths]
    return YES if all(names) else IN_PART if any(names) else NO
