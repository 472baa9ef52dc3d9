"""Images in, batches out: sources, decoding, augmentation, iterators."""

from data.augment import make_preprocess as make_preprocess
from data.classes import CLASSES as CLASSES
from data.classes import readable as readable
from data.images import Images as Images
from data.images import find_images as find_images
from data.mixing import make_mix as make_mix
from data.pipeline import eval_shape as eval_shape
from data.pipeline import input_shape as input_shape
from data.pipeline import load as load
from data.pipeline import make_eval as make_eval
from data.pipeline import make_train as make_train
from data.sizes import plan_sizes as plan_sizes
from data.sizes import tell_sizes as tell_sizes
from data.sources import open_source as open_source
from data.sources import subset as subset
