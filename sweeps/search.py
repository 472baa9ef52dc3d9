"""Searches a sweep's space with Optuna in place of running all of it.

The study is a journal in the sweep's folder: several launchers share it, and a restart goes on with it.
Each trial is a run like any other; one that looks worse than the median of the trials before it, at the
same step, is stopped.
"""

import math
import pathlib
from collections.abc import Iterator
from typing import Any

import optuna
from ml_collections import ConfigDict
from optuna import distributions
from optuna.trial import TrialState

from configs.spaces import Range
from sweeps import expand, watch
from sweeps import folder as sweep_folder
from sweeps.results import is_loss

NAME = "name"  # attribute of a trial: of its run


def space(path: str) -> dict[str, Any]:
    """Returns field -> Range or choices: the `space()` of a config file, else the values in its sweep().

    Raises:
      ValueError: it has neither, or a sweep() in which nothing but the seed differs.
    """
    module = expand.load(path)
    if hasattr(module, "space"):
        return module.space()
    if not hasattr(module, "sweep"):
        raise ValueError(f"{path} has no space() and no sweep(): see configs/resnet50.py for both")
    values = {}
    for overrides in expand.swept(module, path):
        for field, value in overrides.items():
            values.setdefault(field, []).append(value)
    choices = {field: list(dict.fromkeys(found)) for field, found in values.items()}
    varied = {f: found for f, found in choices.items() if len(found) > 1 and f != "seed"}
    if not varied:
        raise ValueError(f"the sweep() of {path} leaves nothing to search for")
    return varied


class Search:
    """The trials of a study, as runs of a sweep, for `local.launch`."""

    def __init__(
        self, folder: str, sweep: dict, base: ConfigDict, space: dict, metric: str, trials: int
    ):
        """Opens the study, or makes it.

        Args:
          folder: of the sweep, on a disk.
          sweep: what `folder.record` writes.
          base: the config that trials change.
          space: field -> Range or choices.
          metric: to search for, a name in metrics.jsonl.
          trials: as many as there are to be in the study, over all launchers.

        Raises:
          ValueError: the space has a field that cannot be drawn; or the study is damaged, or of a space that
            does not go with this one.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        file, self._space = pathlib.Path(folder, "study.log"), as_distributions(space)
        try:
            lock = optuna.storages.journal.JournalFileSymlinkLock(str(file))
            journal = optuna.storages.journal.JournalFileBackend(str(file), lock)
            cut_back(file, lock)
            self.study = optuna.create_study(
                study_name=metric,
                storage=optuna.storages.JournalStorage(journal),
                sampler=optuna.samplers.TPESampler(constant_liar=True),  # for trials side by side
                pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_min_trials=4),
                direction="minimize" if is_loss(metric) else "maximize",
                load_if_exists=True,
            )
            before = self.study.get_trials(deepcopy=False)
        except OSError:
            raise
        except Exception as error:  # Optuna does not look at what it reads
            raise damaged(file, repr(error)) from error
        check_same_space(file, before, self._space)
        runs = {t.user_attrs[NAME]: t.params for t in before if NAME in t.user_attrs}
        if runs:  # sweep.json may have been lost
            sweep_folder.record(folder, sweep | {"runs": runs})
        self._folder, self._sweep, self._base = folder, sweep, base
        self._metric, self._trials = metric, trials
        self._running: dict[str, optuna.Trial] = {}
        self._reported: dict[str, int] = {}  # the last step that the study knows
        self._hopeless: set[str] = set()

    def names(self) -> Iterator[str]:
        """Yields a run for each trial, first for those that a launcher left when it was stopped."""
        for frozen in self.study.get_trials(states=[TrialState.RUNNING]):
            name = frozen.user_attrs.get(NAME)
            if name and sweep_folder.state(self._folder, name)["state"] != "running":
                self._reported[name] = max(frozen.intermediate_values, default=0)
                self._running[name] = optuna.Trial(self.study, frozen._trial_id)
                yield name
        while sum(NAME in trial.user_attrs for trial in self.study.trials) < self._trials:
            trial = self.study.ask(self._space)
            overrides = trial.params
            name = expand.runs([overrides], self._base)[0].name
            sweep_folder.record(self._folder, self._sweep | {"runs": {name: overrides}})
            trial.set_user_attr(NAME, name)
            if name in self._running:  # drawn twice: nothing to learn
                self.study.tell(trial, state=TrialState.PRUNED)
                continue
            self._running[name] = trial
            yield name

    def watch(self, running: list[str]) -> list[str]:
        """Tells the study of new evaluations; returns the runs that do not promise anything."""
        stop = []
        for standing in watch.look(self._folder, running):
            name, trial = standing.name, self._running[standing.name]
            for line in standing.lines:
                if self._metric in line and line["step"] > self._reported.get(name, 0):
                    trial.report(line[self._metric], line["step"])
                    self._reported[name] = line["step"]
                    goes_on = standing.state != "finished" and line["step"] < standing.total_steps
                    if goes_on and trial.should_prune():
                        self._hopeless.add(name)
            if name in self._hopeless:
                stop.append(name)
        return stop

    def ended(self, name: str) -> None:
        """Tells the study how a trial's run ended; one that was stopped by a signal can go on later."""
        [standing] = watch.look(self._folder, [name])
        trial, value = self._running.pop(name), standing.latest(self._metric)
        if standing.state == "finished" and value is not None and math.isfinite(value):
            self.study.tell(trial, value)  # it may have ended before its launcher could stop it
        elif name in self._hopeless:
            self.study.tell(trial, state=TrialState.PRUNED)
            sweep_folder.write_state(self._folder, name, "pruned")
        elif standing.state in ("finished", "failed"):
            self.study.tell(trial, state=TrialState.FAIL)

    def summary(self) -> str:
        """Returns for example "12 trials: 7 complete, 5 pruned; best eval/top1 0.9861: depth=56"."""
        trials = self.study.get_trials(deepcopy=False)
        states = [trial.state.name.lower() for trial in trials]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        text = f"{len(trials)} trial{'s' * (len(trials) != 1)}: {counts}"
        if "complete" in states:
            best = self.study.best_trial
            text += f"; best {self._metric} {best.value:.4f}: {best.user_attrs[NAME]}"
        return text


def as_distributions(space: dict) -> dict[str, distributions.BaseDistribution]:
    """Returns a space as Optuna wants it.

    Args:
      space: field -> Range or choices.

    Raises:
      ValueError: there is no field, or one that cannot be drawn.
    """
    if not isinstance(space, dict) or not space:
        raise ValueError(f"the space() is {space!r}: let it be fields and their values")
    found = {}
    for field, values in space.items():
        try:
            found[field] = _distribution(values)
        except (ValueError, TypeError) as error:
            raise ValueError(f"the space() has {field}: {values!r}: {error}") from error
    return found


def _distribution(values) -> distributions.BaseDistribution:
    if isinstance(values, str):
        raise ValueError("a text is no list of choices")
    if not isinstance(values, Range):
        return distributions.CategoricalDistribution(list(values))
    if not all(map(math.isfinite, values)):
        raise ValueError("the ends of a range are numbers")
    if isinstance(values.low, int) and isinstance(values.high, int):
        return distributions.IntDistribution(values.low, values.high, log=values.log)
    return distributions.FloatDistribution(values.low, values.high, log=values.log)


def check_same_space(file, before: list, space: dict) -> None:
    """Raises ValueError where trials were drawn from a space that Optuna cannot join with this one.

    A wider or narrower range and another field go on with what the trials have shown; other choices, and a
    range that was or becomes logarithmic, do not.
    """
    for trial in before:
        for field in trial.distributions.keys() & space.keys():
            was, now = trial.distributions[field], space[field]
            as_read = distributions.json_to_distribution(distributions.distribution_to_json(now))
            try:
                distributions.check_distribution_compatibility(was, as_read)
            except ValueError as error:
                raise ValueError(
                    f"{file} is the study of another space: {field} was {_text(was)} and is "
                    f"{_text(now)}. Choose another --workdir, or the space of before"
                ) from error


def _text(one: distributions.BaseDistribution) -> str:
    if isinstance(one, distributions.CategoricalDistribution):
        return f"one of {', '.join(map(repr, one.choices))}"
    return f"{one.low} to {one.high}{', logarithmic' if one.log else ''}"


def cut_back(file: pathlib.Path, lock) -> None:
    """Takes the line off a journal that a kill has cut short, which would join with the next one."""
    lock.acquire()
    try:
        with file.open("r+b") as opened:
            opened.truncate(opened.read().rfind(b"\n") + 1)
    finally:
        lock.release()


def damaged(file, why: str) -> ValueError:
    return ValueError(
        f"{file} is damaged ({why}): move it away and launch again: a new study begins, in which runs "
        "that are there count when they are drawn again"
    )
