"""One start in a process of its own: start_round.py NETWORK@BATCHxSIZE CACHE prints its phases in JSON."""

import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # before what is installed


def main(network: str, cache: str) -> None:
    """Prints the seconds of each phase, up to the first step; CACHE is the compilation cache."""
    began, phases = time.perf_counter(), {}

    def end(phase):
        nonlocal began
        now = time.perf_counter()
        phases[phase], began = now - began, now

    import jax

    import analysis
    import data
    import models
    import train  # noqa: F401 - its imports count
    from benchmarks import networks
    from training import command, sharding

    command.keep_memory()
    jax.config.update("jax_compilation_cache_dir", cache)
    end("import")
    config = networks.load(*networks.parse(network, 8, None), "float32")
    analysis.count(models.create(**config.model), data.input_shape(config.input))
    end("count")
    mesh = sharding.make_mesh(jax.devices()[:1])
    state, step, arguments = networks.training(config, mesh)
    jax.block_until_ready((state, arguments))
    end("initialise")
    lowered = step.lower(state, *arguments)
    end("trace")
    compiled = lowered.compile()
    end("compile")
    jax.block_until_ready(compiled(state, *arguments))
    end("step")
    print(json.dumps(phases), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
