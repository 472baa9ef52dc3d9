"""Installs the project: pip install -e ."""

from setuptools import find_packages, setup

# jaxlib 0.10.2 computes some programs wrongly on the CPU (jax#39103); it and 0.11.0 crash on others (jax#39257).
JAX, JAXLIB = "jax>=0.10,!=0.10.2,!=0.11.0", "jaxlib!=0.10.2,!=0.11.0"
HF = ["datasets>=4.0"]
AZ, GCS, S3 = ["adlfs>=2024.12"], ["gcsfs>=2024.10"], ["s3fs>=2024.10"]
WANDB = ["wandb>=0.21"]
TFLITE = ["ai-edge-litert>=2.0", "tensorflow>=2.20"]
SWEEPS = ["optuna>=4.2", "plotly>=7.0", "submitit>=1.5.3"]

setup(
    name="cnn-architectures",
    version="0.1.0",
    description="The history of convolutional networks in JAX and Flax, one training loop for all",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(
        include=[
            "analysis*",
            "benchmarks*",
            "configs*",
            "data*",
            "inference*",
            "models*",
            "nas*",
            "sweeps*",
            "training*",
        ]
    ),
    package_data={
        "": ["py.typed"],
        "analysis": ["choice.csv"],
        "analysis.atlas": ["atlas.css", "atlas.html", "atlas.js"],
        "data": ["imagenet.txt"],
        "models.torch": ["published.csv"],
    },
    py_modules=["train", "eval"],
    install_requires=[
        "absl-py>=2.1",
        "etils[epath]>=1.12",
        "flatbuffers>=24.3",  # jax.export writes by it, without requiring it
        "flax>=0.12",
        "fsspec>=2024.10",
        "grain>=0.2.15",
        "importlib_resources>=6.0",  # tensorflow-datasets imports it without requiring it
        JAX,
        JAXLIB,
        "matplotlib>=3.9",
        "ml-collections>=1.0",
        "netron>=9.0,<10",  # whose dagre.js lays out the blocks of the atlas
        "numpy>=2.0",
        "opencv-python-headless>=4.10",
        "optax>=0.2.6",
        "orbax-checkpoint>=0.11.20",
        "pillow>=10.0",
        "pyyaml>=6.0",
        "safetensors>=0.4.3",
        "scikit-learn>=1.5",
        "scipy>=1.13",
        "simplejpeg>=1.7",
        "tensorboardX>=2.6.2",
        "tensorflow-datasets>=4.9.8",
        "tqdm>=4.66",
    ],
    extras_require={
        "cuda": [JAX.replace("jax", "jax[cuda]")],
        "tpu": [JAX.replace("jax", "jax[tpu]")],
        "az": AZ,
        "gcs": GCS,
        "hf": HF,
        "s3": S3,
        "docs": ["mkdocstrings-python>=2.0", "zensical>=0.0.73"],
        "prepare": ["tensorflow>=2.20"],
        "sweeps": SWEEPS,
        "wandb": WANDB,
        # Not of test: it wants an older Orbax, and fails with JAX 0.12.
        "onnx": ["jax2onnx>=0.17", "onnxruntime>=1.24", "jax<0.12", "jaxlib<0.12"],
        "tflite": TFLITE,
        "test": [
            "aiobotocore[boto3]>=2.15",  # the boto3 that goes with it, which moto would not choose
            "gcp-storage-emulator>=2024.8",
            "ipykernel>=6.29",
            "kubernetes>=37",
            "moto[s3,server]>=5.0",
            "nbclient>=0.10",
            "pytest>=8.3",
            "pytest-xdist>=3.6",
            "pyrefly>=1.5,<2",
            "ruff>=0.17.6,<0.18",
            *GCS,
            *HF,
            *S3,
            *SWEEPS,
            *TFLITE,
            *WANDB,
        ],
    },
)
