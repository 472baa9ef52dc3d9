"""Pre-activation ResNets on CIFAR-10: Identity Mappings in Deep Residual Networks.

Paper: https://arxiv.org/abs/1603.05027, appendix. He et al. start at a learning rate of 0.01 for 400
iterations; here it rises from 0.01 to 0.1 over 400 iterations, which approximates that.

  python scripts/prepare_data.py cifar10                      # once
  python train.py --config=configs/preact_resnet.py:1001 --workdir=runs/preact_resnet1001

The number after the colon is one of DEPTHS; the default is 164. Published test error (table 4): 5.46 % of 164
layers, 4.92 % of 1001; 4.62 % with batches of 64, which need half the memory (the authors' code,
KaimingHe/resnet-1k-layers): --config.batch_size=64 --config.optimizer.learning_rate=0.4. Not trained
here. configs/preact_resnet200.py has the network for ImageNet.
"""

from configs import common

DEPTHS = (164, 1001)


def get_config(depth=164):
    common.one_of("preact_resnet", depth, DEPTHS)
    config = common.cifar10()
    config.batch_size = 128
    config.total_steps = 64_000

    config.optimizer.learning_rate = 0.2  # per 256 images: 0.1 at the paper's 128
    config.optimizer.warmup_factor = 0.1
    config.optimizer.warmup_epochs = 400 * 128 / 50_000
    config.optimizer.schedule = "steps"
    config.optimizer.decay_at = (32_000 / 64_000, 48_000 / 64_000)
    config.optimizer.weight_decay = 1e-4
    config.optimizer.decay = "all"

    config.model = common.model("preact_resnet", depth=int(depth), num_classes=10)
    config.model.layout = "cifar"
    config.model.scan = True
    config.model.bottleneck_stride = "1x1"  # the authors' code (KaimingHe/resnet-1k-layers)
    return config
