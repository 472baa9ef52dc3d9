"""The ablations differ in what they say they do, and their report says what the runs show."""

import json
import math
import subprocess

import pytest
from conftest import command
from scipy import stats

import data
import models
from analysis import ablation, intervals
from configs import ablations, gains
from sweeps import expand
from sweeps import folder as sweep_folder
from training import loss


@pytest.mark.parametrize("name", ablations.ABLATIONS)
def test_an_ablation_has_its_variants_for_each_seed(name):
    base = ablations.get_config(name)
    runs = expand.runs(ablations.sweep(name), base)
    variants = ablations.ABLATIONS[name].variants
    assert len(runs) == ablations.SEEDS * len(variants)
    assert len({run.config.seed for run in runs[: len(variants)]}) == 1  # seed by seed
    _, differing = ablation.asked(f"configs/ablations.py:{name}")
    for run in runs[: len(variants)]:
        models.shapes(models.create(**run.config.model), data.input_shape(base.input))
        fields = variants[ablation.variant_of(differing, run.overrides)]
        same = {k for k, v in run.config.model.items() if base.model[k] == v}
        assert set(run.config.model) - same <= set(fields)  # nothing else differs


@pytest.mark.parametrize("budget", gains.BUDGETS)
def test_the_parts_of_recipes_are_compared_with_one_baseline(budget):
    base = gains.get_config(budget)
    name, variants = ablation.asked(f"configs/gains.py:{budget}")
    runs = expand.runs(gains.sweep(budget), base)
    assert len(runs) == gains.BUDGETS[budget].seeds * len(variants)
    read_back = [json.loads(json.dumps(run.overrides)) for run in runs[: len(variants)]]
    labels = [ablation.variant_of(variants, overrides) for overrides in read_back]
    assert labels == list(variants) and max(len(run.name) for run in runs) < 200
    assert runs[0].config == base  # the baseline of the first seed
    assert {b for _, b in ablation.QUESTIONS[name].claims} == {gains.BASELINE}
    for run in runs[: len(variants)]:
        loss.make(run.config, 10)  # which refuses fields that do not fit each other
        steps = round(148 * run.config.total_epochs)
        plan = data.plan_sizes(run.config.input, 148 * 64, 64, steps)
        if run.overrides.get("input.start_size"):
            ends = [*list(plan)[1:], steps]
            of_sizes = zip(ends, plan.items(), strict=True)
            time = sum((end - step) * MILLISECONDS[size] for end, (step, size) in of_sizes)
            whole = 148 * base.total_epochs * MILLISECONDS[64]
            assert time == pytest.approx(whole, rel=0.1) and set(plan.values()) == {32, 48, 64}
        else:
            assert plan == {0: 64} and run.config.total_epochs == base.total_epochs
    with pytest.raises(ValueError, match="is none of the variants baseline, "):
        ablation.variant_of(variants, {"seed": 0, "label_smoothing": 0.2})


@pytest.mark.parametrize("name", ablations.ABLATIONS)
def test_claims_and_published_figures_are_of_variants(name):
    question, variants = ablation.QUESTIONS[name], ablations.ABLATIONS[name].variants
    assert {label for claim in question.claims for label in claim} <= set(variants)
    assert not question.published or set(question.published) == set(variants)
    if question.published:  # the paper's own figures bear its claims out
        assert all(question.published[a] < question.published[b] for a, b in question.claims)


MILLISECONDS = {32: 5.4, 48: 8.8, 64: 12.5}  # of an image, see configs/gains.py


def run(variant, seed, error):
    return ablation.Run(variant, seed, error, 10, 100, None)


def test_a_gain_is_paired_by_seed():
    runs = [run("g = 3, shuffle", s, 40 + 5 * s) for s in range(3)]
    runs += [run("g = 3, no shuffle", s, 42 + 5 * s + s / 10) for s in range(3)]
    runs += [run("g = 3, no shuffle", 3, 90.0)]  # whose partner is missing
    found = ablation.gain(runs, "g = 3, shuffle", "g = 3, no shuffle")
    assert found.n == 3 and found.mean == pytest.approx(2.1)
    assert ablation.verdict(found) == ablation.SEEN
    reverse = ablation.gain(runs, "g = 3, no shuffle", "g = 3, shuffle")
    assert ablation.verdict(reverse) == ablation.OPPOSITE
    assert ablation.gain(runs, "g = 8, shuffle", "g = 8, no shuffle") is None
    one = ablation.gain(runs[:1] + runs[3:4], "g = 3, shuffle", "g = 3, no shuffle")
    assert ablation.verdict(one) == ablation.OPEN  # one seed says nothing


def test_all_claims_are_judged_together_by_holms_method():
    """The adjusted values of statsmodels.stats.multitest.multipletests(p, method="holm")."""
    values = [[1.0, 2.0, 3.0], [5.0, 5.1, 4.9], [0.1, -0.1, 0.3]]
    found = [intervals.interval(one) for one in values]
    p = [stats.ttest_1samp(one, 0).pvalue for one in values]
    assert p[1] < p[0] < p[2]
    expected = [2 * p[0], 3 * p[1], p[2]]
    assert intervals.holm(found) == pytest.approx(expected)
    one_seed = intervals.interval([1.0])
    with_one = intervals.holm([one_seed, *found])
    assert math.isnan(with_one[0]) and with_one[1:] == pytest.approx(expected)
    assert intervals.holm([found[2], found[2]]) == pytest.approx([2 * p[2]] * 2)

    runs = [run("BatchNorm", s, 20.0 + s / 9) for s in range(3)]
    runs += [run("neither", s, 37.0 + s / 10) for s in range(3)]
    runs += [run("auxiliary heads (the paper's)", s, 36.5 + s / 3) for s in range(3)]
    text = ablation.together({"googlenet": runs})
    assert "| googlenet: BatchNorm better than neither | +16.99 | " in text and "**yes**" in text
    assert text.count("| no |") == 1


@pytest.fixture
def swept(tmp_path):
    """Returns the folder of a sweep with three of its runs finished."""
    base = ablations.get_config("shuffle")
    runs = expand.runs(ablations.sweep("shuffle"), base)
    sweep = {"config": "configs/ablations.py:shuffle", "arguments": [], "git": None}
    folder = tmp_path / "shuffle"
    overrides = {run.name: run.overrides for run in runs}
    sweep_folder.record(str(folder), sweep | {"base": base.to_dict(), "runs": overrides})
    for run_, top1 in zip(runs[:3], (0.5, 0.6, 0.7), strict=False):
        (folder / run_.name).mkdir()
        header = {
            "config": run_.config.to_dict(),
            "total_steps": 500,
            "parameters": 1,
            "multiply_adds": 2,
            "versions": {"python": "3", "jax": "0", "flax": "0"},
            "devices": {"count": 1, "kind": "cpu"},
            "date": "2026-11-26 12:00",
            "git": "abc",
        }
        logged = [(1, {}), (300, {"train/images_per_second": 32.0})]
        logged += [(500, {"train/images_per_second": 64.0}), (500, {"eval/top1": top1})]
        lines = [header, *({"step": step} | figures for step, figures in logged)]
        (folder / run_.name / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
        sweep_folder.write_state(str(folder), run_.name, "finished")
    return folder


@pytest.mark.slow
def test_the_script_reports_what_is_there_and_what_is_missing(swept):
    for workdir in (swept, swept.parent):
        done = subprocess.run(**command("scripts/ablation.py", f"--workdir={workdir}"))
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("missing: ") == 9
        text = (workdir / "report.md").read_text()
        assert "| g = 3, no shuffle | 1 | 2 | 400 | 50.00 | 1 | 45.70 |" in text
        assert "+10.00 (one seed: no interval) | +2.50 | not told apart" in text
        assert "not all runs are finished, 9 missing" in text
        assert (workdir / "ablations.png").read_bytes().startswith(b"\x89PNG")
        [gain] = json.loads((workdir / "report.json").read_text())["shuffle"]["gains"]
        assert (gain["better"], gain["n"], gain["low"]) == ("g = 3, shuffle", 1, None)
        assert gain["mean"] == pytest.approx(10.0) and gain["verdict"] == "not told apart"


def test_mistakes_are_told_in_a_line(tmp_path):
    for arguments, message in (
        ((), "--workdir=DIR is missing"),
        ((f"--workdir={tmp_path}",), "holds no sweep"),
    ):
        done = subprocess.run(**command("scripts/ablation.py", *arguments))
        assert done.returncode == 1 and message in done.stderr
        assert done.stderr.count("\n") == 1
