"""Labels by the names of classes."""

import difflib

from data.messages import some


def labels_of(found: list[str], class_names: list[str], what: str) -> list[int]:
    """Returns the label of each class of `found`; raises ValueError for one that has none."""
    if found == class_names:
        return list(range(len(found)))
    label = {name: i for i, name in enumerate(class_names)}
    unknown = [name for name in found if name not in label]
    if unknown:
        near = difflib.get_close_matches(unknown[0], class_names)
        raise ValueError(
            f"{what}: {some(unknown)} not among the {len(class_names)} classes of the training "
            f"({some(class_names)})"
            + (f"; near {unknown[0]}: {', '.join(near)}" if near else "")
            + ". Rename the folders to those classes, or take them away"
        )
    return [label[name] for name in found]
