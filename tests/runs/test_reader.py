"""The readers return all contents of intact folders, and for damaged files nothing but a reason."""

import json

import pytest

from tests.report.folders import write_run, write_sweep
from tinv.runs import layout
from tinv.runs.reader import RunReader, SweepReader
from tinv.runs.status import Status

RUN_PROPERTIES = {
    layout.STATUS: "status",
    layout.PROGRESS: "progress",
    layout.TRIAL: "trial",
    layout.METRICS: "curves",
    layout.EVALUATION: "scores",
    layout.HYDRA_CONFIG: "config",
    layout.HYDRA_OVERRIDES: "overrides",
    layout.HYDRA_RUNTIME: "working_dir",
    layout.RUN_CARD: "card",
}
DAMAGE = [b"", b"{", b"[1]", b"null", b"3", b"\xff\xfe\x00", b'{"a": [', b"!!int ''", b"a: [}"]
DAMAGE += [b"[" * 100_000, b"\n" * 9]


@pytest.fixture
def run(tmp_path):
    write_run(tmp_path / "run", losses=(0.4, 0.3))
    return tmp_path / "run"


def test_an_intact_run_is_read(run):
    (run / layout.HYDRA_RUNTIME).write_text("hydra: {runtime: {cwd: /work, choices: {model: toybox}}}")
    (run / layout.PROGRESS).write_text(
        '{"step": 10, "max_steps": 20, "steps_per_s": 2, "seconds_left": 5, "loss": null, "written_at": "", "new": 1}'
    )
    reader = RunReader(run)
    assert reader.exists and (reader.status.status, reader.status.value) == ("done", 0.3)
    assert (reader.progress.step, reader.progress.steps_per_s, reader.progress.loss) == (10, 2.0, None)
    assert reader.metrics[10]["val/loss"] == "0.3"
    assert reader.curves["val/loss"] == [(0, 0.4), (10, 0.3)] and reader.last_value("val/loss") == 0.3
    assert (reader.config, reader.overrides) == ({"seed": 0}, ["+experiment=cat_toy"])
    assert (str(reader.working_dir), reader.choices) == ("/work", {"model": "toybox"})
    assert (reader.placeholder_tokens, reader.max_steps, reader.last_step) == (["<cat>"], 10, 10)
    assert not reader.problems


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", RUN_PROPERTIES)
def test_a_damaged_file_is_nothing_but_a_reason(run, name, damage):
    (run / name).write_bytes(damage)
    reader = RunReader(run)
    value = getattr(reader, RUN_PROPERTIES[name])
    assert not value or (name, damage) == (layout.HYDRA_OVERRIDES, b"[1]")
    assert not value or set(reader.problems) <= {name}
    if name != layout.METRICS and not value:
        assert reader.problems[name]


def test_a_missing_file_is_no_problem_and_a_folder_in_its_place_is(run):
    for name in RUN_PROPERTIES:
        (run / name).unlink(missing_ok=True)
        (run / name).mkdir(parents=True)
    there, missing = RunReader(run), RunReader(run / "nothing")
    for attribute in RUN_PROPERTIES.values():
        assert not getattr(there, attribute) and not getattr(missing, attribute)
    assert set(there.problems) == set(RUN_PROPERTIES) and not missing.problems and not missing.exists


@pytest.mark.parametrize(
    "content", [{"status": 3}, {"seconds": "1"}, {"value": float("nan")}, {"value": 10**400}, {"restarts": None}]
)
def test_a_status_with_a_value_of_another_type_is_damaged(run, content):
    (run / layout.STATUS).write_text(json.dumps(content))
    assert (reader := RunReader(run)).status is None
    assert next(iter(content)) in reader.problems[layout.STATUS] or "large" in reader.problems[layout.STATUS]


def test_of_the_metrics_each_valid_field_is_read(run):
    (run / layout.METRICS).write_text("step,a,b\n0,1,nan\nx,1,1\n-1,2,2\n\n5,,text,7\n6,inf,3\n7,8,0.")
    assert RunReader(run).curves == {"a": [(0, 1.0)], "b": [(6, 3.0)]}


@pytest.mark.parametrize(
    ("evaluation", "scores"),
    [
        ({"scores": {"clip_i": 0.75, "dino": None}, "seeds": [1], "drawn": {"steps": 25}}, {"clip_i": 0.75}),
        ({"fid": 12, "clip": {"image": 0.5}, "note": "1", "bad": float("nan")}, {"fid": 12.0, "clip.image": 0.5}),
    ],
)
def test_the_scores_of_an_evaluation_are_its_finite_numbers(run, evaluation, scores):
    (run / layout.EVALUATION).write_text(json.dumps(evaluation))
    assert RunReader(run).scores == scores


def test_samples_and_embeddings_are_found_by_concept_and_step(tmp_path):
    for concept in ("cat", "dog"):
        folder = layout.concept_dir(tmp_path, concept)
        for step in (0, 500, 1_000_000):
            path = layout.samples_path(tmp_path, step, concept)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        (folder / layout.SAMPLES / "grid.png").touch()
        layout.step_embedding_path(folder, 500).touch()
        for name in ("learned_embeds-neg-steps-500.safetensors", "learned_embeds-neg.safetensors", layout.EMBEDDING):
            (folder / name).touch()
    reader = RunReader(tmp_path)
    assert {step: len(paths) for step, paths in reader.samples.items()} == {0: 2, 500: 2, 1_000_000: 2}
    assert {path.name for path in reader.embeddings} == {"learned_embeds-neg.safetensors", layout.EMBEDDING}
    assert len(layout.list_step_embeddings(tmp_path / "concepts" / "cat")[500]) == 2


def test_the_state_of_a_point_is_its_own_unless_it_was_killed(tmp_path):
    failed = Status("failed", reason="out of memory")
    folder = write_sweep(tmp_path / "sweep", [{"seed": "1"}, {"seed": "2"}, {"seed": "3"}], {1: failed})
    write_run(folder / "0", status=Status("running"))
    write_run(folder / "1", status=Status("running"))
    sweep = SweepReader(folder)
    assert [point.state.status for point in sweep.points] == ["running", "failed", "waiting"]
    assert [point.swept for point in sweep.points] == [{"seed": "1"}, {"seed": "2"}, {"seed": "3"}]
    assert sweep.monitor == "val/loss"


@pytest.mark.parametrize("damage", [*DAMAGE, b'{"points": 3, "settings": 3}', b'{"points": [3, {"point": "x"}, {}]}'])
def test_a_damaged_sweep_has_no_points(tmp_path, damage):
    for name in (layout.PLAN, layout.SWEEP_RESULTS):
        (tmp_path / name).write_bytes(damage)
    sweep = SweepReader(tmp_path)
    assert (sweep.points, sweep.monitor, sweep.settings) == ([], None, {})
