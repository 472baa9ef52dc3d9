"""Looks inside a trained network: pictures, and a page that holds them and opens from any place.

Without photos, of the images that the run is judged by: which classes are confused, the accuracy of each,
the worst mistakes, the images nearest to the decision. Of some of them, or of photos: the answer, where the
network found it (class activation maps and Grad-CAM), feature maps. Always: the filters of the first layer.

With --augmented there needs to be no run: it draws training images as a network sees them, the first five of
each of the first steps, with their labels, in WORKDIR/look/augmented.png.

Examples:
  python scripts/look.py --workdir=runs/mine
  python scripts/look.py --workdir=runs/mine photo.jpg holidays/
  python scripts/look.py --workdir=runs/mine --checkpoint=best --layer=stage2 --output=pictures
  python scripts/look.py --config=configs/imagenette.py --augmented   # before a run, training images
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # before what is installed

if __name__ == "__main__":
    from training import start

    start.early()

from absl import flags

import configs
import data
import inference
from analysis import page, style
from analysis.look import report, training
from data.messages import plain, tell
from training import command, files

flags.adopt_module_key_flags(command)  # --config and --workdir
CHECKPOINT = flags.DEFINE_string("checkpoint", "latest", "best (by top-1), latest, or a step.")
OUTPUT = flags.DEFINE_string("output", None, "Folder of the pictures; default: WORKDIR/look.")
LAYER = flags.DEFINE_string(
    "layer", "", "The feature map of Grad-CAM; default: the last one of more than one pixel."
)
AUGMENTED = flags.DEFINE_bool("augmented", False, "Draw training images as the network sees them.")
MOST = flags.DEFINE_integer(
    "most", 20, "Photos of a contact sheet, and given photos that are looked at.", lower_bound=1
)


def main(paths: list[str]) -> None:
    config, workdir = command.CONFIG.value, command.workdir()
    folder = files.absolute(OUTPUT.value or files.absolute(workdir) / "look")
    if AUGMENTED.value:
        sheet = training.sheet(*training.seen(config, MOST.value))
        files.make(folder)
        files.write_bytes(folder / "augmented.png", style.png(sheet))
        print(plain(folder / "augmented.png"))
        return
    if paths:
        photos = data.find_images(paths)
        if len(photos) > MOST.value:
            tell(f"of {len(photos):,} photos the first {MOST.value} are looked at: see --most")
        run = inference.load(workdir, CHECKPOINT.value, config)
        facts, sections = report.of_photographs(run, photos[: MOST.value], LAYER.value)
    else:
        run, source = inference.open_evaluation(config, workdir, CHECKPOINT.value)
        facts, sections = report.of_evaluation(run, source, MOST.value, LAYER.value)

    files.make(folder)
    prefix = "photos_" if paths else ""
    for section in sections:
        if section.picture is not None:
            files.write_bytes(folder / f"{prefix}{section.name}.png", section.picture)
    facts = {"network": run.config.model.name, "step": f"{run.step:,}"} | facts
    text = page.write(f"Inside {workdir}", facts, sections)
    file = folder / ("photos.html" if paths else "index.html")
    files.write_bytes(file, text.encode())
    for name, value in facts.items():
        print(plain(f"{name}: {value}"))
    print(plain(file))


if __name__ == "__main__":
    command.run(main, configs, takes="photos or folders", needs=False)
