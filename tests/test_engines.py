"""The files in sweeps/engines/: read by their own tools, and what they run, run here. Slurm's are in test_slurm.py."""

import os
import pathlib
import shutil
import subprocess
import sys

import kubernetes.client
import pydantic
import pytest
import yaml
from conftest import PROJECT, SMALLEST, command
from faults import stores

from sweeps import sky

ENGINES = PROJECT / "sweeps" / "engines"
KUBERNETES = sorted(ENGINES.glob("kubernetes_*.yaml"))
CONFIG = f"""
from ml_collections import ConfigDict
from configs import digits, spaces

def get_config():
    config = digits.get_config()
    config.model = ConfigDict({SMALLEST})
    config.total_steps = 2
    return config

def sweep():
    return spaces.product({{"seed": range(3)}})
"""


def documents(file):
    return [*yaml.safe_load_all(file.read_text())]


def read_by_kubernetes(document):
    """Returns what Kubernetes' own client makes of it: fields that it does not know are gone."""
    kind = getattr(kubernetes.client, f"V1{document['kind']}")
    return kubernetes.client.ApiClient().sanitize_for_serialization(kind.from_dict(document))


@pytest.mark.parametrize("file", KUBERNETES, ids=lambda file: file.stem)
def test_kubernetes_own_client_knows_every_field(file):
    for document in documents(file):
        assert read_by_kubernetes(document) == document
    job = documents(file)[-1]
    assert read_by_kubernetes(job | {"sped": {}}) != job | {"sped": {}}
    with pytest.raises(pydantic.ValidationError, match="completions"):
        read_by_kubernetes(job | {"spec": job["spec"] | {"completions": "two"}})


@pytest.mark.parametrize("file", KUBERNETES, ids=lambda file: file.stem)
def test_the_names_in_a_file_of_kubernetes_fit_each_other(file):
    *others, job = documents(file)
    named = {document["kind"]: document["metadata"]["name"] for document in others}
    pod = job["spec"]["template"]["spec"]
    assert pod.get("subdomain") == named.get("Service")
    env = {one["name"]: one["value"] for one in pod["containers"][0]["env"]}
    if others:
        first, number = (
            f"{job['metadata']['name']}-0.{named['Service']}",
            job["spec"]["completions"],
        )
        assert env["JAX_COORDINATOR_ADDRESS"].startswith(f"{first}:")
        assert env["JAX_NUM_PROCESSES"] == str(number) == str(job["spec"]["parallelism"])
    for document in others:
        if document["kind"] == "Service":
            assert document["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in pod["initContainers"] + pod["containers"]:
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        assert container["image"] in (ENGINES / "Dockerfile").read_text()


def of_pod(container, bucket_env, index, replaced):
    """Runs what a container runs, as pod `index` of its job; returns the finished process."""
    arguments = [*container["args"]]
    for before, after in replaced.items():
        arguments = [argument.replace(before, after) for argument in arguments]
    pod = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "JOB_COMPLETION_INDEX": str(index)}
    path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # Nothing is here that answers for Kubernetes: a pod that asked for its neighbours would fail.
    started = command(env=bucket_env | pod | {"PATH": path})
    return subprocess.run(**started | {"args": arguments})


@pytest.mark.slow
def test_a_pod_fetches_the_data_and_runs_the_run_of_its_number(tmp_path):
    config = tmp_path / "three.py"
    config.write_text(CONFIG)
    [job] = documents(ENGINES / "kubernetes_sweep.yaml")
    pod = job["spec"]["template"]["spec"]
    [data], [run] = pod["initContainers"], pod["containers"]
    with stores.server("gs") as address:
        env = stores.environment("http://{}:{}".format(*address))
        put = "import fsspec; fsspec.open('gs://bucket/tensorflow_datasets/imagenet2012/1/x', 'w').open().close()"
        subprocess.run(**command("-c", put, env=env), check=True)
        done = of_pod(data, env, 1, {"gs://YOUR-BUCKET": "gs://bucket", "/data/": f"{tmp_path}/"})
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "imagenet2012" / "1" / "x").exists()

        replaced = {"configs/resnet50.py": str(config), "gs://YOUR-BUCKET": "gs://bucket"}
        done = of_pod(run, env, 1, replaced)
        assert done.returncode == 0, done.stderr
        assert "results: gs://bucket/rates/seed=1\n" in done.stdout
        done = of_pod(run, env, 3, replaced)
        assert "--run=3: choose 0 to 2, the runs of the sweep" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("sky"), reason="no sky: pipx install skypilot")
def test_skypilots_parser_accepts_the_yaml_of_a_sweep(tmp_path):
    engines = sorted(ENGINES.glob("sky_*.yaml"))
    assert len(engines) == 4
    for engine in engines:
        settings = yaml.safe_load(engine.read_text())
        file = tmp_path / "rates.yaml"
        sky.write("gs://bucket/rates", "rates", settings, file)
        task = yaml.safe_load(file.read_text())
        activate, train = task["run"].splitlines()
        assert activate in task["setup"]
        assert train == 'python -m sweeps.worker gs://bucket/rates "$RUN"'
    with pytest.raises(ValueError, match="SkyPilot does not accept .*rates.yaml"):
        sky.write("gs://bucket/rates", "rates", settings | {"num_nods": 2}, file)
