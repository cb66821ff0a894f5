"""The benchmarks run, on a tiny model."""

from pathlib import Path

import pytest
import torch

from bench import commands, full_size, moments, packed, published, quality, random_pipeline, run, scaling, start, step
from bench.__main__ import command, files, parse
from bench.figures import Figure, ratio
from bench.run_process import run_process
from bench.runner import Command, alternate_steps, start_process
from bench.step_by_step import rss
from bench.watch import WARM_UP
from tinv.toybox import recovery

REFERENCE = Path(__file__).with_name("full_vocabulary_script.py")
LOOP = """
import sys
import torch

vectors = torch.zeros(2, requires_grad=True)
for parameter in (torch.zeros(1, requires_grad=True), *[vectors] * 20):
    parameter.grad = torch.ones_like(parameter)
    torch.optim.SGD([parameter], lr=1.0).step()
    with open(sys.argv[1], "a") as log:
        log.write(sys.argv[2] if parameter is vectors else "")
"""


def test_a_figure_is_the_median_with_quartiles_and_a_ratio_is_computed_by_pairs():
    assert Figure.of([1.0, 2.0, 3.0, 4.0, 100.0]) == Figure(3.0, 2.0, 4.0, 5)
    assert str(Figure.of([1.5])) == "1.5 (1.5-1.5)"
    slow_hours = [1.0, 10.0, 100.0]
    assert ratio([2 * seconds for seconds in slow_hours], slow_hours) == Figure(2.0, 2.0, 2.0, 3)


@pytest.mark.parametrize(
    "words", [["run", "--reference", "/home/me/script.py"], ["run", "--reference=/home/me/script.py"]]
)
def test_the_saved_command_has_the_script_name_without_its_path(words):
    log = command(words, Path("/home/me/script.py"))
    assert "script.py" in log[-1] and "/home" not in " ".join(log)


def test_each_subject_has_its_own_results_file():
    saved = {path.name: figures for path, figures in files("step", {"toybox": [1], "hundredth": [2]}).items()}
    assert saved == {"step_toybox.json": [1], "step_hundredth.json": [2]}
    assert [(path.name, figures) for path, figures in files("quality", [3]).items()] == [("quality.json", [3])]


@pytest.mark.slow
def test_scripts_alternate_their_steps(tmp_path):
    (tmp_path / "loop.py").write_text(LOOP)
    log = tmp_path / "log"
    a, b = (Command(name, tmp_path / "loop.py", (str(log), name)) for name in "ab")
    with start_process(a) as first, start_process(b) as second:
        times = alternate_steps([first, second], rounds=3, warm_up=1)
        assert [len(steps) for steps in times] == [3, 3]
        assert all(step_time.wall > 0 and step_time.cpu > 0 for steps in times for step_time in steps)
        assert first.stop()["rss"] > 50
    assert log.read_text() == "abbaabba"


def test_a_failing_script_raises_with_its_output(tmp_path):
    (tmp_path / "broken.py").write_text("raise SystemExit('no such flag')")
    with (
        pytest.raises(SystemExit, match="broken: the run failed:\nno such flag"),
        start_process(Command("broken", tmp_path / "broken.py", ())),
    ):
        pass


def test_the_memory_of_a_run_excludes_the_benchmark_process(tmp_path):
    (tmp_path / "small.py").write_text("")
    assert 1 < run_process(Command("small", tmp_path / "small.py", ())).rss < rss() // 2


def test_the_tokenizer_is_as_long_as_the_token_table():
    tokenizer = random_pipeline.tokenizer(published.HUNDREDTH["text_encoder"]["vocab_size"])
    assert len(tokenizer) == published.HUNDREDTH["text_encoder"]["vocab_size"] == 49408
    assert len(tokenizer("a photo of a toy").input_ids) == 7


def test_the_hundredth_has_a_hundredth_of_the_parameters():
    with torch.device("meta"):
        parts = random_pipeline.modules(published.HUNDREDTH)
    millions = {name: round(sum(p.numel() for p in part.parameters()) / 1e6) for name, part in parts.items()}
    assert millions == {"unet": 91, "vae": 6, "text_encoder": 22}


@pytest.mark.slow
def test_steps_of_the_script_and_of_tinv_are_compared(monkeypatch):
    monkeypatch.setattr(commands, "has_bf16", lambda: True)
    options = parse(["step", "--tiny", "--subject=hundredth", "--rounds=2", f"--reference={REFERENCE}"])
    rows = {row["name"]: row for row in step.run(options)["hundredth"]}
    assert rows.keys() >= {"reference shipped", "reference best", "tinv", "tinv bf16", "tinv 1x4", "bare loop"}
    assert rows["tinv"]["ratios"].keys() == {"shipped", "best", "bare"}
    assert rows["tinv"]["ratios"]["shipped"]["count"] == 2
    assert rows["tinv"]["wall_ms"]["median"] > 0 and rows["tinv"]["peaks_mib"]["rss"] > 100


@pytest.mark.slow
def test_runs_and_first_steps_are_measured_without_emulated_bfloat16(monkeypatch):
    monkeypatch.setattr(commands, "has_bf16", lambda: False)
    options = parse(["run", "--tiny", "--subject=hundredth", "--rounds=1", "--steps=3", f"--reference={REFERENCE}"])
    rows = run.run(options)["hundredth"]
    names = ("reference shipped", "tinv")
    assert [(row["name"], row["steps"]) for row in rows] == [
        (name, steps) for steps in ("to the first", 3) for name in names
    ]
    assert all(row["cpu_s"]["median"] > 0 and row["rss_mib"] > 100 for row in rows)


@pytest.mark.slow
def test_start_up_is_measured():
    results = start.run(parse(["start", "--tiny", "--rounds=1", f"--reference={REFERENCE}"]))
    assert results.keys() == {"--help", "config error", "first step, tinv", "first step, reference"}
    assert 0 < results["--help"]["median"] < results["first step, tinv"]["median"]


def test_the_latent_cache_is_measured():
    results = moments.run(parse(["moments", "--tiny", "--rounds=2"]))
    assert results.keys() == {"fingerprint the encoder", "encode a view", "read from the cache"}
    assert all(figures["cpu_ms"]["count"] == 2 for figures in results.values())


@pytest.mark.slow
def test_scaling_is_measured():
    rows = scaling.run(parse(["scaling", "--tiny"]))
    assert [(row["axis"], row["value"]) for row in rows] == [("batch", 1), ("batch", 2)]
    assert all(row["step_ms"]["count"] == 2 and row["run_s"] > 0 for row in rows)


@pytest.mark.slow
def test_quality_is_measured_during_training(monkeypatch):
    monkeypatch.setattr(recovery, "SAMPLES", 2)
    monkeypatch.setattr(recovery, "RENDERS", 8)
    rows = quality.run(parse(["quality", "--tiny"]))
    assert [(row["concept"], row["name"], row["step"]) for row in rows] == [
        ("cat_toy", "tinv", 2),
        ("cat_toy", "tinv", 4),
    ]
    assert 0 < rows[0]["cpu_s"] < rows[1]["cpu_s"]
    assert all(0.3 < row["S"] < 1 for row in rows)


def test_when_tinv_reaches_the_quality_of_the_script():
    reference = [{"concept": "car", "name": "reference", "S": s, "cpu_s": t} for s, t in ((0.5, 50), (0.7, 100))]
    ours = [{"concept": "car", "name": "tinv", "S": s, "cpu_s": t} for s, t in ((0.6, 5), (0.75, 10))]
    assert list(quality.when_reached([*reference, *ours])) == [
        "car: the reference has S 0.7 after 100 s; tinv at 10 s, 10.0 times as fast"
    ]
    assert "not at all" in next(quality.when_reached([*reference, ours[0]]))


def test_unknown_families_and_missing_scripts_are_refused():
    for words in (["steps"], ["--reference=nowhere.py"]):
        with pytest.raises(SystemExit):
            parse(words)


@pytest.mark.parametrize("name", published.PUBLISHED)
def test_full_size_models_have_the_published_parameter_counts(name):
    with torch.device("meta"):
        parts = random_pipeline.modules(published.configs(name))
    counted = {part: sum(parameter.numel() for parameter in module.parameters()) for part, module in parts.items()}
    assert counted == published.PARAMETERS[name]


@pytest.mark.parametrize(("name", "memory"), [("sd15", "none"), pytest.param("sdxl", "8gb", marks=pytest.mark.slow)])
def test_a_run_of_the_published_layout_is_measured(monkeypatch, name, memory):
    monkeypatch.setenv("TINV_TARGETS", "")
    steps = WARM_UP + 2
    figures = full_size.measure(name, memory=memory, steps=steps, tiny=True, overrides=["trainer.accelerator=cpu"])
    assert figures["fits"] and figures["steps"] == 2
    assert figures["peaks_mib"].keys() == {"encoding", "sampling", "training"}
    assert 0 < figures["seconds_least"] <= figures["seconds_median"]
    assert figures["batch_size"] * figures["accumulate_grad_batches"] == 4
    assert figures["gradient_checkpointing"] == (memory == "8gb")


@pytest.mark.slow
def test_packed_lanes_are_measured_and_a_measured_row_is_not_measured_again(tmp_path, monkeypatch):
    words = [
        "packed",
        "trainer.accelerator=cpu",
        "--tiny",
        "--subject=toybox",
        "--points=2",
        "--steps",
        "2",
        "--batches",
        "1",
        "--lanes",
        "2",
    ]
    options = parse([*words, "--resume", str(tmp_path / "rows.json")])
    rows = packed.run(options)["toybox"]
    assert [row["way"] for row in rows][::2] == ["one after the other", "packed"]
    assert all(row["wall_s"] > 0 and row["cpu_s"] > 0 and row["rss_mib"] > 0 for row in rows)
    monkeypatch.setattr(packed, "measure", None)
    assert packed.run(options)["toybox"] == rows
