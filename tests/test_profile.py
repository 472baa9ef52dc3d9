"""A trace changes nothing, and has what the steps did."""

import re

import jax
import jax.numpy as jnp
import pytest

import train
from training import metrics, profile

# Of the type of an event's figures, in C++ of jaxlib 0.12 with Python 3.13.
pytestmark = pytest.mark.filterwarnings("ignore:builtin type event_stats")


def losses(workdir):
    return [line["train/loss"] for line in metrics.read_lines(workdir) if "train/loss" in line]


def test_a_traced_run_has_the_same_losses_and_tells_ten_operations(
    digits, trained, tmp_path, capsys
):
    train.train(digits, str(tmp_path / "run"), profiled="2:3")
    assert losses(tmp_path / "run") == losses(trained)
    (told,) = re.findall(
        r"\n2 step\(s\) are traced in .*\n((?: +[\d.]+ .+\n)+)", capsys.readouterr().out
    )
    times = [float(line.split()[0]) for line in told.splitlines()]
    assert len(times) == 10 and times == sorted(times, reverse=True) and times[-1] > 0
    assert any((tmp_path / "run" / "profile").rglob("*.xplane.pb"))


def test_a_trace_has_the_time_of_each_operation_between_two_steps(tmp_path):
    sort, product = jax.jit(lambda x: jnp.sort(x)), jax.jit(lambda x: x @ x)
    x = jnp.ones((300, 300))
    sort(x), product(x)
    said = []
    with profile.Profile("2:2", tmp_path, said.append) as tracer:
        for step, program in enumerate((product, sort, product), 1):
            tracer.before(step)
            out = program(x)
            tracer.after(step, out)
            jax.block_until_ready(out)
    times = profile.operations(tmp_path)
    assert len([name for name in times if "sort" in name]) == 1
    assert not any("dot" in name for name in times)
    assert said[0].startswith("1 step(s) are traced in ")


def test_a_run_that_stops_before_the_last_step_has_a_trace_all_the_same(tmp_path):
    said = []
    with profile.Profile("2:9", tmp_path, said.append) as tracer:
        for step in (1, 2, 3):
            tracer.before(step)
            tracer.after(step, ())
    assert said[0].startswith("2 step(s) are traced in ")
    with profile.Profile("4:5", tmp_path, said.append):
        pass
    assert said[-1] == "no trace: this run did none of the steps 4 to 5"


@pytest.mark.parametrize("steps", ["10", "0:5", "5:4", "a:b", "1:2:3"])
def test_other_than_two_steps_is_a_mistake(steps, tmp_path):
    with pytest.raises(ValueError, match=f"--profile={steps}: .* such as 10:15"):
        profile.Profile(steps, tmp_path, print)
