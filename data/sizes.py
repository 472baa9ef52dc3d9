"""How many pixels a side a network sees: in evaluation, and in the course of a training that grows.

A network that learns from random crops sees things larger than in evaluation, and answers better on larger
images: Fixing the train-test resolution discrepancy (Touvron et al., 2019), arXiv:1906.06423. Images that
are smaller in the first epochs save time; FFCV's ResNet-50 for ImageNet grows them so (`start_ramp` and
`end_ramp` of its configs are `grow_epochs`).
"""


def eval_size(config) -> int:
    """Returns the pixels a side in evaluation; runs from before it was a field have those of training."""
    return config.get("eval_size", 0) or config.image_size


def train_size(config, epoch: int) -> int:
    """Returns the pixels a side of the training images in an epoch, which count from 0.

    Up to the first of `grow_epochs` it is `start_size`, from the last on `image_size`, and in between on the
    line from one to the other, rounded to a multiple of `size_multiple`.
    """
    start, end = config.get("start_size", 0) or config.image_size, config.image_size
    if start == end:
        return end
    first, last = config.grow_epochs
    if epoch <= first:
        return start
    if epoch >= last:
        return end
    size = start + (end - start) * (epoch - first) / (last - first)
    return min(max(round(size / config.size_multiple) * config.size_multiple, start), end)


def check(config) -> None:
    """Raises ValueError where the section `input` of a config does not say how the images grow."""
    if not config.get("start_size", 0):
        return
    if config.start_size > config.image_size:
        raise ValueError(
            f"input.start_size {config.start_size} is above input.image_size {config.image_size}"
        )
    if len(config.grow_epochs) != 2 or config.grow_epochs[0] >= config.grow_epochs[1]:
        raise ValueError(
            f"input.grow_epochs {config.grow_epochs}: with input.start_size let them be the last epoch of that "
            "size and the first one of image_size, counted from 0, such as (4, 12)"
        )


def plan_sizes(config, images: int, batch_size: int, total_steps: int) -> dict[int, int]:
    """Returns step -> pixels a side of the training images from that step on, the first step being 0.

    Args:
      config: the `input` section of a config.
      images: to train on.
      batch_size: images a step over all processes.
      total_steps: of the run.

    Raises:
      ValueError: the config does not say how the images grow.
    """
    check(config)
    found, step, epoch = {}, 0, 0
    grows = config.get("start_size", 0)
    while step < total_steps:
        found[step] = train_size(config, epoch)
        if not grows or epoch >= config.grow_epochs[1]:
            break
        epoch += 1
        step = -(-epoch * images // batch_size)  # the first one that begins in the epoch
    before = [None, *found.values()]
    return {
        step: size for (step, size), old in zip(found.items(), before, strict=False) if size != old
    }


def tell_sizes(config, plan: dict[int, int]) -> str:
    """Returns the line of a run's banner on its sizes, "" where all images have one; see `plan_sizes`."""
    sizes, evaluated = sorted(set(plan.values())), eval_size(config)
    if len(sizes) == 1 and sizes[0] == evaluated:
        return ""
    changes = ", ".join(f"{size} from step {step + 1:,}" for step, size in plan.items())
    return (
        f"pixels a side: {changes} ({len(sizes)} training program(s) to compile, each at its first step); "
        f"{evaluated} in evaluation"
    )
