"""Says what is on photographs: the likeliest classes of each, by the network of a run.

A folder stands for all images in it and below. What cannot be read is told and passed over.

Examples:
  python scripts/predict.py --workdir=runs/mine photo.jpg
  python scripts/predict.py --workdir=runs/mine --checkpoint=best --top=3 --csv holidays/ > answers.csv
"""

import csv
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # before what is installed

if __name__ == "__main__":
    from training import start

    start.early()

from absl import flags
from tqdm import tqdm

import data
import inference
from data.messages import plain
from training import command

flags.declare_key_flag("workdir")
flags.mark_flag_as_required("workdir")
CHECKPOINT = flags.DEFINE_string("checkpoint", "latest", "best (by top-1), latest, or a step.")
TOP = flags.DEFINE_integer("top", 5, "The number of classes of each image.", lower_bound=1)
CROPS = flags.DEFINE_integer("crops", 1, "1, the centre; or 10, also the corners, and mirrored.")
flags.DEFINE_alias("tta", "crops")
JSON = flags.DEFINE_bool(
    "json", False, 'An object a line: {"file": ..., "top": [{"class": ..., "probability": ...}]}.'
)
CSV = flags.DEFINE_bool("csv", False, "A table: file, rank, class, probability.")


def main(arguments: list[str]) -> None:
    if JSON.value and CSV.value:
        raise ValueError("--json and --csv: choose one")
    files = data.find_images(arguments)
    run = inference.load(command.workdir(), CHECKPOINT.value)
    answers = run.answers(data.Images(files), CROPS.value, max_broken_images=len(files))
    show = as_json if JSON.value else as_csv if CSV.value else as_text
    if CSV.value:
        csv.writer(sys.stdout).writerow(["file", "rank", "class", "probability"])
    progress = tqdm(answers, total=len(files), unit=" images", leave=False, disable=None)
    for file, probabilities in zip(files, progress, strict=True):
        if probabilities is not None:
            with progress.external_write_mode(file=sys.stdout):
                show(file, run.top(probabilities, TOP.value))


def as_text(file: str, top: list[tuple[str, float]]) -> None:
    print(plain(file))
    for name, probability in top:
        print(f"  {probability:7.2%}  {plain(name)}")


def as_json(file: str, top: list[tuple[str, float]]) -> None:
    classes = [{"class": name, "probability": probability} for name, probability in top]
    print(json.dumps({"file": file, "top": classes}), flush=True)


def as_csv(file: str, top: list[tuple[str, float]]) -> None:
    for rank, (name, probability) in enumerate(top, 1):
        csv.writer(sys.stdout).writerow([file, rank, name, f"{probability:.6f}"])


if __name__ == "__main__":
    command.run(main, takes="files or folders")
