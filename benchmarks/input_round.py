"""One round of `input` in a process of its own: input_round.py ours|torch FOLDER IMAGES THREADS.

PyTorch's Python runs this file, too, so it imports what only one side has where that is used.
"""

import math
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # before what is installed

BATCH, SIZE = 128, 224


def main(side: str, folder: str, images: int, threads: int) -> None:
    """Prints the images/s of one side, once its first batches are there."""
    batches = {"ours": our_batches, "torch": torch_batches}[side](folder, images, threads)
    for _ in range(2 * threads):
        next(batches)
    count = math.ceil(images / BATCH)
    start = time.perf_counter()
    for _ in range(count):
        next(batches)
    print(count * BATCH / (time.perf_counter() - start), flush=True)


def our_batches(folder, _, threads):
    import data
    from configs import common

    config = common.get_config().input
    config.source, config.image_size, config.threads = f"folder:{folder}", SIZE, threads
    return data.make_train(data.open_source(config, train=True), config, BATCH, seed=0)


def torch_batches(folder, images, threads):
    from torch.utils.data import DataLoader, RandomSampler
    from torchvision import datasets
    from torchvision.transforms import v2

    crop = v2.Compose([v2.RandomResizedCrop(SIZE), v2.RandomHorizontalFlip(), v2.PILToTensor()])
    photos = datasets.ImageFolder(f"{folder}/train", crop)
    length = images + 8 * threads * BATCH  # busy to the end, as ours is
    sampler = RandomSampler(photos, replacement=True, num_samples=length)
    return iter(DataLoader(photos, BATCH, sampler=sampler, num_workers=threads))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
