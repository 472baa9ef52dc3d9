"""Prepares a TFDS data set as array_record files, which training reads without TensorFlow.

Downloads the data set NAME (or takes it from the archives in --manual_dir), or converts a TFRecord
copy that already lies there. Needs TensorFlow: pip install -e ".[prepare]".

Example:
  python scripts/prepare_data.py imagenet2012 --manual_dir=/data/archives --data_dir=/data/tfds
"""

import argparse
import difflib
import importlib.util
import logging
import os
import shutil
import sys
import textwrap
from pathlib import Path

EXAMPLES = """\
examples:
  # ImageNet, from the official ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar
  # (image-net.org, free registration), both put in --manual_dir:
  python scripts/prepare_data.py imagenet2012 --manual_dir=/data/archives

  # Downloaded:
  python scripts/prepare_data.py cifar10
  python scripts/prepare_data.py imagenette/160px-v2 --data_dir=/data/tfds

A TFRecord copy of NAME in DATA_DIR is converted instead, and kept as VERSION.tfrecord.
"""

# TFDS goes on without a split whose archive is missing, so these are looked for first.
MANUAL_FILES = {"imagenet2012": ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")}


def fail(message):
    """Ends the program with one line on stderr."""
    raise SystemExit(f"prepare_data.py: {textwrap.shorten(message, 500)}")


def import_tensorflow():
    """Imports TensorFlow without the log lines that it writes on import, which no level stops."""
    if importlib.util.find_spec("tensorflow") is None:
        fail('TensorFlow is needed to prepare data: run pip install -e ".[prepare]"')
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ["NO_GCE_CHECK"] = "true"  # else TensorFlow asks for Google credentials
    logging.disable(logging.WARNING)
    stderr = os.dup(2)
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 2)
    try:
        importlib.import_module("tensorflow")
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def make_builder(name, data_dir):
    """Returns the TFDS builder of a name such as `cifar10` or `imagenette/160px-v2:1.0.0`."""
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, data_dir=data_dir)
    except (AssertionError, ValueError):
        set_name = name.split("/")[0].split(":")[0]
        known = tfds.list_builders()
    if set_name not in known:
        close = difflib.get_close_matches(set_name, known)
        hint = f"did you mean {' or '.join(close)}?" if close else "see its catalog for the names"
        fail(f"TFDS has no data set {set_name!r}: {hint}")
    builder_class = tfds.builder_cls(set_name)
    configs = ", ".join(builder_class.builder_configs) or "none"
    fail(f"TFDS has no {name!r}: its configs: {configs}; its version: {builder_class.VERSION}")


def check_features(builder):
    """Ends the program unless the data set is one of images with one label each."""
    from tensorflow_datasets import features as tfds_features

    features = dict(builder.info.features or {})
    if not isinstance(features.get("image"), tfds_features.Image) or not isinstance(
        features.get("label"), tfds_features.ClassLabel
    ):
        fail(
            f"{builder.name} is not an image classification set: it needs the features `image` "
            f"and `label`, it has: {', '.join(features)}"
        )


def check_manual_files(builder, manual_dir):
    """Ends the program if archives that the user has to supply are missing."""
    instructions = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    if not instructions:
        return
    files = MANUAL_FILES.get(builder.name, ())
    missing = [file for file in files if not (manual_dir / file).is_file()]
    if missing:
        fail(f"put {' and '.join(missing)} in {manual_dir}, or say where with --manual_dir=DIR")
    if not manual_dir.is_dir() or not any(manual_dir.iterdir()):
        fail(
            f"{builder.name} needs files that TFDS cannot download, put them in {manual_dir} "
            f"or say where with --manual_dir=DIR: {instructions}"
        )


def convert(builder):
    """Converts a TFRecord copy to array_record and returns where the TFRecord copy is kept.

    The records are copied as they are, so that no image is encoded again. The copy is written next
    to the original and takes its place once it is complete.
    """
    import tensorflow as tf
    from tensorflow_datasets.core.file_adapters import ArrayRecordFileAdapter
    from tqdm import tqdm

    directory = Path(builder.data_dir)
    new = directory.with_name(directory.name + ".incomplete")
    kept = directory.with_name(directory.name + ".tfrecord")
    if kept.exists():
        fail(f"{kept} is in the way: the TFRecord copy is moved there, move or delete it first")

    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir()
        sources = [path for split in builder.info.splits.values() for path in split.filepaths]
        builder.info.set_file_format("array_record", override=True, override_if_initialized=True)
        targets = [path for split in builder.info.splits.values() for path in split.filepaths]
        lengths = [n for split in builder.info.splits.values() for n in split.shard_lengths]
        progress = tqdm(sources, "Converting", unit=" files", disable=not sys.stderr.isatty())
        for source, target, length in zip(progress, targets, lengths, strict=True):
            records = tf.data.TFRecordDataset(str(source)).as_numpy_iterator()
            ArrayRecordFileAdapter.write_examples(new / target.name, enumerate(records))
            if ArrayRecordFileAdapter.num_examples(new / target.name) != length:
                fail(f"{source} is damaged: it does not hold {length} images")
        builder.info.write_to_directory(new)
        directory.rename(kept)
        new.rename(directory)
    except (tf.errors.DataLossError, tf.errors.NotFoundError):
        fail(f"{source} is missing or damaged: restore it, or delete {directory} to start anew")
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return kept


def prepare(name, manual_dir, data_dir):
    """Prepares or converts the data set and returns the line to end with."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import visibility
    from tensorflow_datasets.core.download import downloader

    visibility.set_availables({visibility.DatasetType.TFDS_PUBLIC})  # others are listed in a bucket
    tfds.core.utils.gcs_utils._is_gcs_disabled = True  # Google's copies of prepared sets
    downloader.MAX_RETRIES = 5  # Without a network TFDS's own 10 take minutes.
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    builder = make_builder(name, data_dir)
    check_features(builder)
    directory = Path(builder.data_dir)
    formats = [file_format.value for file_format in builder.info.available_file_formats()]
    done, note = "prepared", ""
    if not directory.exists():
        manual_dir = manual_dir or Path(builder.data_dir_root) / "downloads" / "manual"
        check_manual_files(builder, manual_dir)
        config = tfds.download.DownloadConfig(manual_dir=manual_dir)
        builder.download_and_prepare(download_config=config, file_format="array_record")
    elif not builder.is_prepared():
        fail(f"{directory} is no complete data set: move or delete it and run this again")
    elif "array_record" in formats:
        done = "already prepared"
    elif "tfrecord" in formats:
        done, note = "converted", f", the TFRecord copy is kept in {convert(builder)}"
    else:
        fail(f"{directory} holds {', '.join(formats)} files: choose another --data_dir")

    splits = ", ".join(
        f"{split.name} {split.num_examples}" for split in builder.info.splits.values()
    )
    source = "/".join(filter(None, [builder.name, builder.builder_config_name]))
    if ":" in name:
        source += f":{builder.version}"
    return (
        f"{source} {done}: {splits}, {builder.info.features['label'].num_classes} classes, "
        f"in {directory}{note}; train with --config.input.source=tfds:{source}"
    )


def explain(error):
    """Returns one line for an error of TFDS or of the system."""
    from requests.exceptions import ConnectionError

    reason = error
    while reason is not None:
        if isinstance(reason, ConnectionError):
            url = reason.request.url if reason.request else "the data"
            return f"cannot download {url}: is there a network?"
        if "No space left on device" in str(reason):
            return f"the disk is full: make room or choose another --data_dir ({reason})"
        reason = reason.__cause__ or reason.__context__
    return f"{type(error).__name__}: {error}"


def main():
    """Reads the command line, prepares the data set and turns errors into one line."""
    parser = argparse.ArgumentParser(
        description="Prepares a TFDS data set as array_record files.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", help="TFDS name: set, set/config or set:version")
    parser.add_argument("--manual_dir", metavar="DIR", help="archives that you downloaded yourself")
    parser.add_argument(
        "--data_dir", metavar="DIR", help="default: $TFDS_DATA_DIR, else ~/tensorflow_datasets"
    )
    parser.error = lambda message: fail(f"{message}; --help shows examples")
    args = parser.parse_args()
    manual_dir = Path(args.manual_dir).expanduser() if args.manual_dir else None
    data_dir = Path(args.data_dir).expanduser() if args.data_dir else None

    import_tensorflow()
    try:
        print(prepare(args.name, manual_dir, data_dir))
    except Exception as error:
        fail(explain(error))


if __name__ == "__main__":
    main()
