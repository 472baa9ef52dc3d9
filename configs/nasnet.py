"""Any searched cell on CIFAR-10: a network of two normal cells a group and 32 filters, or more.

  python scripts/prepare_data.py cifar10                      # once
  python train.py --config=configs/nasnet.py --config.model.cell=enas --workdir=runs/enas
  python train.py --config=configs/nasnet.py --config.model.genotype=found.json --workdir=runs/found
  python eval.py --config=configs/nasnet.py --config.model.genotype=found.json --workdir=runs/found
  python train.py --config=configs/nasnet.py --config.model.cell=amoebanet_a \\
      --config.model.cells=6 --config.model.filters=36 --workdir=runs/amoebanet

found.json is a genotype as those of models/genotypes/cells.py, [[nodes, output], [nodes, output]]; python
scripts/genotype.py --genotype=found.json draws it. The recipe is that of configs/nasnet_cifar.py, which
says where each value is from; the size is ours, to compare cells in hours. For a first comparison
--config.total_epochs=20 will do. No figures are published for this size, and nothing was trained here.
"""

from configs import nasnet_cifar


def get_config():
    config = nasnet_cifar.get_config()
    config.model.cells = 2  # ours, as are the filters; the paper's network has 6
    config.model.filters = 32
    config.model.drop_path_keep = 0.8  # ours: TF-slim's 0.6 is for a network three times as deep
    return config
