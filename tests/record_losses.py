"""Makes tests/losses.json: what PyTorch's and timm's losses say of a few logits, and their gradients.

  pip install torch timm
  python tests/record_losses.py

Neither is needed to run the tests, which ask ours.
"""

import json
import pathlib

import numpy as np

FILE = pathlib.Path(__file__).parent / "losses.json"
LABELS = [2, 0, 1, 1, 3, 0, 1]
WEIGHTS = (0.5, 2.0, 1.0, 3.5)
# Fields of a config -> whether images are mixed, two and two.
CASES = [
    ({"label_smoothing": 0.1}, False),
    ({"label_smoothing": 0.1}, True),
    ({"class_weights": WEIGHTS}, False),
    ({"class_weights": WEIGHTS, "label_smoothing": 0.2}, False),
    ({"loss": "bce"}, False),
    ({"loss": "bce"}, True),
    ({"loss": "bce", "bce_sum": True}, True),
    ({"loss": "bce", "bce_threshold": 0.35}, True),
    ({"loss": "bce", "bce_threshold": 1.0}, True),
    ({"loss": "bce", "bce_threshold": 1.0, "label_smoothing": 0.2}, False),
    ({"loss": "bce", "bce_threshold": 0.2, "label_smoothing": 0.2, "class_weights": WEIGHTS}, True),
    ({"distill.temperature": 2.5, "distill.weight": 0.7, "label_smoothing": 0.1}, True),
]


def logits(seed: int = 0) -> np.ndarray:
    """Returns those of the network, or by the seed 1 those of its teacher."""
    return np.random.default_rng(seed).normal(0, 3, (len(LABELS), len(WEIGHTS))).astype(np.float32)


def targets(mixed: bool, label_smoothing: float = 0.0) -> np.ndarray:
    """Returns probabilities [N, classes]; mixed: of 0.7 and 0.3 of an image and the next but one."""
    found = np.eye(len(WEIGHTS), dtype=np.float32)[LABELS]
    if mixed:
        found = np.float32(0.7) * found + np.float32(0.3) * np.roll(found, 2, axis=0)
    return (1 - label_smoothing) * found + np.float32(label_smoothing / len(WEIGHTS))


def theirs(fields: dict, mixed: bool):
    """Returns the loss of PyTorch or timm that such fields name, and the targets that it takes."""
    import torch
    from timm.loss import BinaryCrossEntropy, SoftTargetCrossEntropy

    smoothing, weights = fields.get("label_smoothing", 0.0), fields.get("class_weights")
    soft, hard = torch.tensor(targets(mixed, smoothing)), torch.tensor(LABELS)
    weight = weights and torch.tensor(weights)
    if fields.get("loss") == "bce":
        threshold = fields.get("bce_threshold", 0.0)
        loss = BinaryCrossEntropy(
            smoothing,
            target_threshold=threshold if threshold < 1 else None,
            weight=weight,
            sum_classes=fields.get("bce_sum", False),
        )
        return loss, soft if mixed else hard
    if weights:
        return torch.nn.CrossEntropyLoss(weight, label_smoothing=smoothing), hard
    if part := fields.get("distill.weight"):
        return distilled(part, fields["distill.temperature"]), soft
    return SoftTargetCrossEntropy(), soft


def distilled(part: float, temperature: float):
    """Returns the loss of a student, arXiv:1503.02531, by PyTorch's divergence."""
    import torch
    from timm.loss import SoftTargetCrossEntropy

    def loss(x, right):
        its = torch.log_softmax(torch.tensor(logits(1)) / temperature, -1)
        ours = torch.log_softmax(x / temperature, -1)
        divergence = torch.nn.KLDivLoss(reduction="batchmean", log_target=True)(ours, its)
        return (1 - part) * SoftTargetCrossEntropy()(x, right) + part * temperature**2 * divergence

    return loss


def main() -> None:
    import torch

    found = []
    for fields, mixed in CASES:
        loss, right = theirs(fields, mixed)
        x = torch.tensor(logits(), requires_grad=True)
        value = loss(x, right)
        value.backward()
        found.append(
            {
                "fields": fields,
                "mixed": mixed,
                "loss": value.item(),
                "gradient": [[round(float(v), 8) for v in row] for row in x.grad],
            }
        )
    FILE.write_text("[\n" + ",\n".join(map(json.dumps, found)) + "\n]\n")
    print(f"wrote {FILE}")


if __name__ == "__main__":
    main()
