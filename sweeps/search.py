"""Searches a sweep's space with Optuna in place of running all of it.

The study is a journal in the sweep's folder: several launchers share it, and a restart goes on with it.
Each trial is a run like any other; one that looks worse than the median of the trials before it, at the
same step, is stopped.
"""

import pathlib
from collections.abc import Iterator
from typing import Any

import optuna
from ml_collections import ConfigDict
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
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        journal = optuna.storages.journal.JournalFileBackend(str(pathlib.Path(folder, "study.log")))
        self.study = optuna.create_study(
            study_name=metric,
            storage=optuna.storages.JournalStorage(journal),
            sampler=optuna.samplers.TPESampler(constant_liar=True),  # for trials side by side
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_min_trials=4),
            direction="minimize" if is_loss(metric) else "maximize",
            load_if_exists=True,
        )
        self._folder, self._sweep, self._base = folder, sweep, base
        self._space, self._metric, self._trials = space, metric, trials
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
            trial = self.study.ask()
            overrides = {field: _draw(trial, field, v) for field, v in self._space.items()}
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
                    if line["step"] < standing.total_steps and trial.should_prune():
                        self._hopeless.add(name)
            if name in self._hopeless:
                stop.append(name)
        return stop

    def ended(self, name: str) -> None:
        """Tells the study how a trial's run ended; one that was stopped by a signal can go on later."""
        [standing] = watch.look(self._folder, [name])
        trial, value = self._running.pop(name), standing.latest(self._metric)
        if name in self._hopeless:
            self.study.tell(trial, state=TrialState.PRUNED)
            sweep_folder.write_state(self._folder, name, "pruned")
        elif standing.state == "finished" and value is not None:
            self.study.tell(trial, value)
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


def _draw(trial: optuna.Trial, field: str, values):
    if not isinstance(values, Range):
        return trial.suggest_categorical(field, list(values))
    if isinstance(values.low, int) and isinstance(values.high, int):
        return trial.suggest_int(field, values.low, values.high, log=values.log)
    return trial.suggest_float(field, values.low, values.high, log=values.log)
