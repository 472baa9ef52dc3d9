"""A trained network and its answers, for the commands and for notebooks.

import inference

run = inference.load("runs/mine")
for name, probability in run.top(run.predict(["cat.jpg"])[0]):
    print(f"{probability:.1%} {name}")
"""

from inference.averaging import average as average
from inference.averaging import with_statistics_of as with_statistics_of
from inference.evaluation import evaluator as evaluator
from inference.evaluation import open_evaluation as open_evaluation
from inference.trained import Trained as Trained
from inference.trained import find as find
from inference.trained import load as load
from inference.trained import of_pytorch as of_pytorch
