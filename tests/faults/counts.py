"""Counts what the log of a run costs in a bucket: requests and bytes, for several intervals of logging.

Example:
  python tests/faults/counts.py --log_steps 1 10 100
"""

import argparse
import os
import pathlib
import subprocess
import sys

import proxy
import stores

PROJECT = pathlib.Path(__file__).parents[2]
RUN = [
    *("train.py", "--config=configs/digits.py", "--config.total_steps=600"),
    *("--config.eval_steps=200", "--config.checkpoint_steps=100"),
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--log_steps", type=int, nargs="+", default=[1, 10, 100])
    args = parser.parse_args()
    for scheme in stores.SERVERS:
        with stores.server(scheme) as address:
            for steps in args.log_steps:
                with proxy.Proxy(address) as between:
                    folder = f"{scheme}://bucket/{steps}"
                    arguments = [*RUN, f"--config.log_steps={steps}", f"--workdir={folder}"]
                    env = os.environ | {"JAX_PLATFORMS": "cpu"} | stores.environment(between.url)
                    subprocess.run(
                        [sys.executable, *arguments], cwd=PROJECT, env=env, check=True, stdout=-3
                    )
                told = [
                    f"{topic} {sum(n for (t, _), n in between.requests.items() if t == topic)} requests, "
                    f"{between.bytes[topic, 'sent'] / 1e3:,.0f} kB sent"
                    for topic in between.topics
                ]
                print(f"{scheme}, log_steps={steps}: {'; '.join(told)}", flush=True)


if __name__ == "__main__":
    main()
