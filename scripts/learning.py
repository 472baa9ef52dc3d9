"""Trains every family in configs/small.py for the same few epochs, and prints a table of them.

Networks that are trained already are not trained again; a run that was stopped goes on. --write puts
table and picture into docs/.

Examples:
  python scripts/learning.py --images=imagenette2-160
  python scripts/learning.py --images=imagenette2-160 --networks=resnet,plain --epochs=1
"""

import pathlib
import statistics
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # before what is installed

if __name__ == "__main__":
    from training import start

    start.early()

from absl import flags
from matplotlib.figure import Figure

from analysis import markdown, style
from configs import small
from sweeps import folder as sweep_folder
from sweeps import watch
from training import command, files, metrics

IMAGES = flags.DEFINE_string("images", "imagenette2-160", "Folder with train/CLASS and val/CLASS.")
FAMILIES = [name for name in small.NETWORKS if not name.endswith("_bn")]
EPOCHS = flags.DEFINE_float("epochs", 2.0, "Length of each run.", lower_bound=0.01)
NETWORKS = flags.DEFINE_list("networks", FAMILIES, "Names of configs/small.py.")
WRITE = flags.DEFINE_bool(
    "write", False, "Put the table into docs/results.md, a picture beside it."
)
flags.declare_key_flag("workdir")

RESULTS = command.PROJECT / "docs" / "results.md"


def main() -> None:
    folder = files.absolute(command.WORKDIR.value or "runs/learning")
    unknown = sorted(set(NETWORKS.value) - set(small.NETWORKS))
    if unknown:
        known = ", ".join(small.NETWORKS)
        raise ValueError(f"--networks: no {', '.join(unknown)}; choose among {known}")
    if WRITE.value and (NETWORKS.value != FAMILIES or EPOCHS.value != 2):
        raise ValueError(
            "--write puts all families after 2 epochs into docs/: leave out other flags"
        )
    for i, name in enumerate(NETWORKS.value, 1):
        print(f"{name} ({i} of {len(NETWORKS.value)})", flush=True)
        arguments = [
            f"--config=configs/small.py:{name}",
            f"--workdir={folder / name}",
            f"--config.input.source=folder:{files.absolute(IMAGES.value)}",
            f"--config.total_epochs={EPOCHS.value}",
        ]
        train = [sys.executable, "train.py", *arguments]
        done = subprocess.run(train, cwd=command.PROJECT, env=sweep_folder.environment())
        if done.returncode:
            sys.exit(done.returncode)  # train.py has said why
    table = "\n".join(rows({name: folder / name for name in NETWORKS.value}))
    print(table)
    if WRITE.value:
        RESULTS.write_text(markdown.fill(RESULTS.read_text("utf-8"), "learning", table), "utf-8")
        top1 = {name: 100 * standing(folder / name).latest("eval/top1") for name in NETWORKS.value}
        RESULTS.with_name("learning.png").write_bytes(picture(top1))


def rows(workdirs: dict[str, pathlib.Path]):
    """Yields the lines of a Markdown table of the runs."""
    yield "| network | parameters | multiply-adds | top-1 | top-5 | seconds an epoch |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for name, workdir in workdirs.items():
        run = standing(workdir)
        speeds = [x for line in run.lines if (x := line.get("train/images_per_second"))]
        seconds = run.step * run.header["config"]["batch_size"] / statistics.median(speeds)
        yield (
            f"| {name} | {run.header['parameters']:,} | {run.header['multiply_adds']:,} | "
            f"{run.latest('eval/top1'):.1%} | {run.latest('eval/top5'):.1%} | "
            f"{seconds / EPOCHS.value:.0f} |"
        )


def picture(top1: dict[str, float]) -> bytes:
    """Draws a horizontal bar for each network, the highest top-1 in percent above.

    Returns:
      The picture, as a PNG.
    """
    names = sorted(top1, key=top1.get)
    figure = Figure(figsize=(7, 0.5 + 0.28 * len(names)), layout="constrained")
    axes = figure.subplots()
    drawn = axes.barh(names, [top1[name] for name in names])
    axes.bar_label(drawn, fmt="%.1f", padding=3)
    axes.set(xlabel="top-1 (%)")
    axes.spines[["top", "right"]].set_visible(False)
    return style.png(figure)


def standing(workdir: pathlib.Path) -> watch.Standing:
    """Returns a run that has ended; raises ValueError where its figures cannot be read."""
    run = watch.Standing(workdir.name, "finished", metrics.read_lines(workdir), "")
    if run.missing:
        raise ValueError(f"{workdir} is {run.missing}: remove the folder, and train it again")
    return run


if __name__ == "__main__":
    command.run(main)
