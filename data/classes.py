"""The classes of data sets that networks were published for, and their names as people say them."""

import functools
import pathlib

FILE = pathlib.Path(__file__).with_name("imagenet.txt")  # with its sources


@functools.cache
def imagenet() -> dict[str, str]:
    """Returns {"n01440764": "tench", ...}, synset and name of the 1,000 classes, in order of the logits."""
    lines = FILE.read_text("utf-8").splitlines()
    return dict(line.split(" ", 1) for line in lines if not line.startswith("#"))


def readable(classes: list[str]) -> list[str]:
    """Returns the names of classes, some or all of which are synsets of ImageNet."""
    return [imagenet().get(name, name) for name in classes]


# fine_label_names of the set's own archive: its "meta", which tensorflow/datasets has at 03127ff
CIFAR100 = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
    butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch
    crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo
    keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain
    mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain
    plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
    television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
""".split()

CLASSES = {  # as TFDS calls them, in order of the logits
    "imagenet": list(imagenet()),
    "cifar10": "airplane automobile bird cat deer dog frog horse ship truck".split(),
    "cifar100": CIFAR100,
    "svhn": [str(digit) for digit in range(10)],
}
