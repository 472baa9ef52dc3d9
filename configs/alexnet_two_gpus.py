"""AlexNet on two devices, as in 2012: each holds one of the two towers of figure 2.

Paper (NIPS 2012, not on arXiv): https://papers.nips.cc/paper/4824, section 3.5. Krizhevsky's two GTX 580 had 3 GB
each, too little for the whole network. The devices exchange maps before the third convolution and before each
fully connected layer alone. With more devices, each pair holds a copy and takes its share of the batch.

  python train.py --config=configs/alexnet_two_gpus.py --workdir=runs/alexnet_two_gpus
  JAX_NUM_CPU_DEVICES=2 python train.py --config=configs/alexnet_two_gpus.py --workdir=runs/two \\
      --config.input.source=synthetic --config.total_steps=2     # simulated on the CPU

Published figures and recipe as in configs/alexnet.py, but for the response normalisation, which stays inside a
tower here. Not trained here on the full set.
"""

from configs import alexnet


def get_config():
    config = alexnet.get_config()
    config.model_devices = 2
    config.model.response_norm = "tower"
    return config
