"""Evaluation hands a network the pixels that torchvision and timm hand it, for the same files."""

import functools
import json

import numpy as np
import pytest
import record_pixels

import data
from configs import common

RECORDED = np.load(record_pixels.FILE)
FIELDS = json.loads(str(RECORDED["fields"]))
files = functools.cache(record_pixels.files)


@pytest.mark.parametrize("name", FIELDS)
def test_the_pixels_are_those_of_the_peer(name):
    config = common.get_config().input
    config.update({k: tuple(v) if isinstance(v, list) else v for k, v in FIELDS[name].items()})
    images = data.Images(files().values())
    (batch,) = data.make_eval(images, config, batch_size=len(images))
    assert batch["mask"].all()
    seen = data.make_preprocess(config, train=False)(batch["image"])[0]
    levels = 255 * (np.asarray(seen) * config.std + config.mean)
    for file, ours, theirs in zip(files(), record_pixels.grid(levels), RECORDED[name], strict=True):
        assert abs(ours - theirs).max() < 1.01, file
