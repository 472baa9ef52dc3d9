"""PyTorch's side of `train` and `infer`; PyTorch's Python runs this file.

A step is what its users write: channels_last, SGD with momentum, autocast below float32, a batch that
lies on the device; compiled by torch.compile or not.
"""

import contextlib
import importlib.metadata

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
import worker
from torch import nn


class CifarBlock(nn.Module):
    """3x3, BN, ReLU, 3x3, BN, added to shortcut A: a strided slice, zero channels around."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.zeros = stride, (outputs - inputs) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, *[self.zeros] * 2))
        return F.relu(x + y)


def cifar_resnet(depth: int, num_classes: int) -> nn.Module:
    """The CIFAR-10 ResNet of He et al. (arXiv:1512.03385, section 4.2), as akamaster's."""
    layers, inputs = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()], 16
    for outputs in (16, 32, 64):
        for _ in range((depth - 2) // 6):
            layers.append(CifarBlock(inputs, outputs, outputs // inputs))
            inputs = outputs
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes)
    return nn.Sequential(*layers, *head)


def create(name: str, num_classes: int) -> nn.Module:
    """Returns the network of LIBRARY/MODEL, weights drawn."""
    library, _, model = name.partition("/")
    if library == "akamaster":
        return cifar_resnet(int(model.removeprefix("resnet")), num_classes)
    if library == "timm":
        import timm

        return timm.create_model(model, num_classes=num_classes)
    from torchvision import models

    more = {"init_weights": False, "aux_logits": True} if model == "googlenet" else {}
    return getattr(models, model)(num_classes=num_classes, **more)


def prepare(spec):
    """Returns (facts, run), as `worker.serve` wants it, of the network and step that `spec` names."""
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")  # TF32 where there is such, as in JAX
    cuda = spec["platform"] == "gpu" and torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    batch, size, classes = spec["batch"], spec["size"], spec["num_classes"]
    model = create(spec["twin"], classes).to(device, memory_format=torch.channels_last)
    model.train(spec["task"] == "train")
    forward = torch.compile(model) if spec["compiled"] else model
    images = torch.randn(batch, 3, size, size, device=device)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(classes, (batch,), device=device)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9, weight_decay=1e-4)
    narrow = contextlib.nullcontext()
    if spec["dtype"] != "float32":
        narrow = torch.autocast(device.type, getattr(torch, spec["dtype"]))

    def train():
        with narrow:
            logits = forward(images)
            main, *auxiliary = logits if isinstance(logits, tuple) else (logits,)
            loss = F.cross_entropy(main, labels)
            for logits in auxiliary:
                loss = loss + 0.3 * F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def infer():
        with torch.inference_mode(), narrow:
            forward(images)

    def run(steps):
        for _ in range(steps):
            train() if spec["task"] == "train" else infer()
        if cuda:
            torch.cuda.synchronize()

    first = worker.seconds(run, 1)  # compiles
    packages = ("torch", "torchvision", *(["timm"] if spec["twin"].startswith("timm/") else []))
    return {
        "first_step_seconds": first,
        "step_seconds": worker.seconds(run, 1),
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "threads": torch.get_num_threads(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }, run


if __name__ == "__main__":
    worker.serve(prepare)
