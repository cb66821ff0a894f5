"""Quality over time: diffusers' script with its published recipe, and tinv with its experiment."""

from argparse import Namespace
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from shutil import copy
from tempfile import TemporaryDirectory
from typing import Any

from bench import commands, subjects
from bench.runner import ROOT, Command, start_process
from tinv import formats
from tinv.runs.files import resolve_path, write_atomically
from tinv.runs.text_table import align_columns
from tinv.toybox.clip_features import ToyboxClip
from tinv.toybox.concepts import get_concept
from tinv.toybox.recovery import Baseline, baseline, edit_alignment, scene_prompt, similarity_to_renders
from tinv.toybox.sampling import load_pipeline, sample

CONCEPTS = ("cat_toy", "robot", "teapot")
PLOT = Path(__file__).parent / "results" / "quality.png"
HEAD = ("", "step", "CPU s", "S", "editability")


def run(options: Namespace) -> list[dict[str, Any]]:
    """S and editability of every concept during training, by CPU seconds since the start of the process."""
    clip, rows = ToyboxClip(), []
    for name in CONCEPTS[:1] if options.tiny else CONCEPTS:
        before = baseline(load_pipeline(), name, get_concept(name).initializer_token, clip)
        with TemporaryDirectory() as folder:
            for command, steps, every in commands_to_compare(name, Path(folder), options):
                for step, seconds, file in learn(command, steps, every, Path(folder) / command.name):
                    rows.append({"concept": name, "name": command.name, **score(file, before, clip)})
                    rows[-1] |= {"step": step, "cpu_s": round(seconds, 2)}
                    print(rows[-1], flush=True)
    print("\nquality: the toybox")
    print(
        align_columns(
            [HEAD, *((f"{r['concept']}, {r['name']}", r["step"], r["cpu_s"], r["S"], r["editability"]) for r in rows)],
            align_right=True,
        )
    )
    for line in when_reached(rows):
        print(line)
    if not options.tiny:
        draw(rows)
    return rows


def commands_to_compare(name: str, folder: Path, options: Namespace) -> Iterator[tuple[Command, int, int]]:
    """Each command, its number of steps, and the interval between measurements."""
    placeholder = f"<{name.split('_')[0]}-toy>"
    if options.reference:
        steps, every = (4, 2) if options.tiny else (3000, 250)
        subject = subjects.Subject("toybox", resolve_path(subjects.TOYBOX), 64, copy_images(name, folder / "images"))
        saved = (*commands.DEFAULT_FLAGS, f"--save_steps={every}", f"--checkpointing_steps={10**6}")
        words = (f"--placeholder_token={placeholder}", f"--initializer_token={get_concept(name).initializer_token}")
        yield (
            commands.script_command(
                "reference", options.reference, subject, folder / "reference", *saved, *words, steps=steps
            ),
            steps,
            every,
        )
    steps, every = (4, 2) if options.tiny else (400, 50)
    own = (f"+experiment={name}", f"trainer.max_steps={steps}", f"callbacks.export.every_n_steps={every}")
    quiet = ("~callbacks.samples", "+trainer.limit_val_batches=0", "monitor=null", f"hydra.run.dir={folder / 'tinv'}")
    yield Command("tinv", ROOT / "train.py", (*own, *quiet, *options.settings)), steps, every


def copy_images(name: str, folder: Path) -> Path:
    """The images of a concept without their captions, because the script reads every file of a folder as an image."""
    folder.mkdir()
    for image in resolve_path(f"pkg://tinv/toybox/concepts/{name}").glob("*.png"):
        copy(image, folder)
    return folder


def learn(command: Command, steps: int, every: int, folder: Path) -> Iterator[tuple[int, float, Path]]:
    """Run the command; yield the intermediate files with their CPU seconds."""
    with start_process(command) as runner:
        seconds = list(accumulate([runner.first.cpu, *(runner.step().cpu for _ in range(steps - 1))]))
        runner.finish()
    for step in range(every, steps + 1, every):
        yield step, seconds[step - 1], folder / f"learned_embeds-steps-{step}.safetensors"


def score(file: Path, before: Baseline, clip: ToyboxClip) -> dict[str, float]:
    """S of an embedding, and the mean CLIP-T of its edits relative to the class word."""
    pipeline, word = load_pipeline(), formats.read(file).placeholder_token
    pipeline.load_textual_inversion(file, token=word)
    name = before.target.name

    def generate(prompts: Any, seed: int) -> Any:
        return sample(pipeline, prompts, seed=seed)

    edits = edit_alignment(name, word, generate, clip)
    return {
        "S": round(
            similarity_to_renders(before.target, lambda scene: scene_prompt(name, word, scene), generate, clip), 4
        ),
        "editability": round(sum(edits[edit] / before.edit_alignment[edit] for edit in edits) / len(edits), 3),
    }


def when_reached(rows: list[dict[str, Any]]) -> Iterator[str]:
    """When tinv reaches the S of the script's last step."""
    for name in dict.fromkeys(row["concept"] for row in rows):
        sides = {who: [r for r in rows if (r["concept"], r["name"]) == (name, who)] for who in ("reference", "tinv")}
        if not sides["reference"]:
            continue
        end = sides["reference"][-1]
        when = next((row for row in sides["tinv"] if row["S"] >= end["S"]), None)
        result = f"at {when['cpu_s']} s, {end['cpu_s'] / when['cpu_s']:.1f} times as fast" if when else "not at all"
        yield f"{name}: the reference has S {end['S']} after {end['cpu_s']} s; tinv {result}"


def draw(rows: list[dict[str, Any]]) -> None:
    """Plot S over CPU seconds."""
    from matplotlib.figure import Figure as Sheet
    from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

    names = list(dict.fromkeys(row["concept"] for row in rows))
    sheet = Sheet(figsize=(4 * len(names), 3.2), layout="constrained")
    for axes, name in zip(sheet.subplots(1, len(names), squeeze=False, sharey=True)[0], names, strict=True):
        for who in ("reference", "tinv"):
            mine = [row for row in rows if (row["concept"], row["name"]) == (name, who)]
            axes.plot([row["cpu_s"] for row in mine], [row["S"] for row in mine], marker=".", label=who)
        axes.set(title=name, xlabel="CPU seconds", ylabel="S", xscale="log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
        axes.legend()
    with write_atomically(PLOT) as draft:
        sheet.savefig(draft, format="png", dpi=100)
