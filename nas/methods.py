"""Methods that search a space, behind one interface: `ask` for genotypes, `tell` their rewards.

`state` is all that a method has learnt, as a pytree; what it draws comes from (seed, number told), so that
a method that was restored goes on as the one that was saved.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from nas.spaces import Space

Tokens = tuple[int, ...]


class Random:
    """Random search: the rival that every other method has to beat."""

    def __init__(self, space: Space, seed: int):
        self._space, self._seed = space, seed
        self.state = {"told": 0}

    def ask(self, count: int) -> list[Tokens]:
        """Returns `count` genotypes to try."""
        rng = np.random.default_rng([self._seed, self.state["told"]])
        return [self._space.draw(rng) for _ in range(count)]

    def tell(self, asked: list[Tokens], rewards: list[float]) -> None:
        """Learns the rewards of what `ask` returned."""
        self.state = {"told": self.state["told"] + len(asked)}


class Evolution:
    """Regularised evolution (arXiv:1802.01548, algorithm 1): tournaments, mutations, and death by age.

    While the population is not full, genotypes are drawn at random. Then each is a mutation, of one token, of the
    best of `sample` individuals, and with each that is told the oldest dies. The genotypes of one `ask` have the same
    population; the paper's workers have one each.
    """

    def __init__(self, space: Space, seed: int, population: int = 100, sample: int = 25):
        self._space, self._seed = space, seed
        self._population, self._sample = population, sample
        self.state = {
            "told": 0,
            "tokens": np.zeros((0, len(space.sizes)), np.int64),
            "rewards": np.zeros(0),
        }

    def ask(self, count: int) -> list[Tokens]:
        """Returns `count` genotypes to try."""
        rng = np.random.default_rng([self._seed, self.state["told"], 1])  # not random search's
        tokens, rewards = self.state["tokens"], self.state["rewards"]
        if len(rewards) < self._population:
            return [self._space.draw(rng) for _ in range(count)]
        found = []
        for _ in range(count):
            rivals = rng.integers(0, len(rewards), self._sample)
            parent = tokens[rivals[np.argmax(rewards[rivals])]]
            found.append(self._space.mutate(tuple(map(int, parent)), rng))
        return found

    def tell(self, asked: list[Tokens], rewards: list[float]) -> None:
        """Learns the rewards of what `ask` returned."""
        self.state = {
            "told": self.state["told"] + len(asked),
            "tokens": np.concatenate([self.state["tokens"], asked])[-self._population :],
            "rewards": np.concatenate([self.state["rewards"], rewards])[-self._population :],
        }


class Policy(nn.Module):
    """An LSTM that emits a genotype token by token; each token is fed to the next step.

    One layer of `hidden` units, a softmax for each token, weights uniform in +-0.1: arXiv:1707.07012.
    """

    sizes: tuple[int, ...]
    hidden: int = 100

    @nn.compact
    def __call__(self, tokens, key=None):
        """Returns (tokens, their log-probabilities, entropies of the choices), each [N, tokens].

        Args:
          tokens: int32 [N, tokens].
          key: draws new tokens in their place; None: takes those.
        """
        init = nn.initializers.uniform(0.2)
        uniform = lambda *arguments: init(*arguments) - 0.1  # noqa: E731 - in +-0.1
        length, most = len(self.sizes), max(self.sizes)
        embedding = self.param("embedding", uniform, (length, most, self.hidden))
        kernel = self.param("kernel", uniform, (length, self.hidden, most))
        allowed = jnp.arange(most) < jnp.array(self.sizes)[:, None]
        cell = nn.OptimizedLSTMCell(self.hidden, kernel_init=uniform, recurrent_kernel_init=uniform)

        def step(cell, carry, position):
            state, previous = carry
            state, output = cell(state, embedding[position, previous])
            logits = jnp.where(allowed[position], output @ kernel[position], -1e9)
            log_probabilities = jax.nn.log_softmax(logits)
            token = tokens[:, position]
            if key is not None:
                token = jax.random.categorical(jax.random.fold_in(key, position), logits)
            chosen = jnp.take_along_axis(log_probabilities, token[:, None], axis=1)[:, 0]
            entropy = -jnp.sum(jnp.exp(log_probabilities) * log_probabilities, axis=1)
            return (state, token), (token, chosen, entropy)

        state = cell.initialize_carry(jax.random.key(0), (len(tokens), self.hidden))
        scan = nn.scan(step, variable_broadcast="params", split_rngs={"params": False})
        _, found = scan(cell, (state, jnp.zeros(len(tokens), jnp.int32)), jnp.arange(length))
        return tuple(jnp.swapaxes(one, 0, 1) for one in found)


class Controller:
    """A policy that learns from the rewards, by REINFORCE or by PPO.

    REINFORCE follows sum_t grad log P(a_t | a_<t) (R - b) (arXiv:1611.01578, section 3.2), PPO takes several
    steps on the clipped ratio of new to old probabilities (arXiv:1707.06347, equation 7), as the NASNet
    search does. In both b is a moving average of the rewards, and the entropy has a bonus.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        update: str = "reinforce",
        hidden: int = 100,
        learning_rate: float = 3.5e-4,
        entropy: float = 1e-5,
        baseline: float = 0.95,
        passes: int = 4,
        clip: float = 0.2,
    ):
        """Makes a controller that knows nothing yet.

        Args:
          space: to search.
          seed: of the weights and the draws.
          update: "reinforce" or "ppo".
          hidden: units of the LSTM.
          learning_rate: of Adam.
          entropy: weight of the bonus: nats, summed over the tokens.
          baseline: weight of the past in the moving average.
          passes: of PPO over each batch.
          clip: of PPO: the ratio counts up to 1 +- clip.

        Raises:
          ValueError: no such update.
        """
        if update not in ("reinforce", "ppo"):
            raise ValueError(f"update {update!r}: choose reinforce or ppo")
        self._seed, self._decay = seed, baseline
        self._policy = Policy(space.sizes, hidden)
        self._draw, self._learn, init = _programs(
            self._policy, update, learning_rate, entropy, passes if update == "ppo" else 1, clip
        )
        params, opt_state = init(jax.random.key(seed))
        self.state = {"told": 0, "params": params, "opt_state": opt_state, "baseline": np.nan}

    def ask(self, count: int) -> list[Tokens]:
        """Returns `count` genotypes to try."""
        key = jax.random.fold_in(jax.random.key(self._seed), self.state["told"])
        tokens = np.asarray(self._draw(self.state["params"], key, count))
        return [tuple(map(int, one)) for one in tokens]

    def tell(self, asked: list[Tokens], rewards: list[float]) -> None:
        """Learns the rewards of what `ask` returned."""
        mean, before = float(np.mean(rewards)), float(self.state["baseline"])
        baseline = mean if np.isnan(before) else self._decay * before + (1 - self._decay) * mean
        advantages = jnp.array(rewards, jnp.float32) - (mean if np.isnan(before) else before)
        params, opt_state = self._learn(
            self.state["params"], self.state["opt_state"], jnp.array(asked, jnp.int32), advantages
        )
        told = self.state["told"] + len(asked)
        self.state = {"told": told, "params": params, "opt_state": opt_state, "baseline": baseline}


@functools.lru_cache(maxsize=8)  # searches with several seeds compile once
def _programs(policy: Policy, update: str, learning_rate, entropy_weight, passes: int, clip: float):
    """Returns the compiled (draw, learn, init) of a controller."""
    tx = optax.adam(learning_rate)

    @jax.jit
    def init(key):
        params = policy.init(key, jnp.zeros((1, len(policy.sizes)), jnp.int32))["params"]
        return params, tx.init(params)

    @functools.partial(jax.jit, static_argnums=2)
    def draw(params, key, count):
        return policy.apply({"params": params}, jnp.zeros((count, len(policy.sizes)), int), key)[0]

    @jax.jit
    def learn(params, opt_state, tokens, advantages):
        _, before, _ = policy.apply({"params": params}, tokens)

        def loss(params):
            _, log_probabilities, entropies = policy.apply({"params": params}, tokens)
            if update == "reinforce":
                gain = log_probabilities.sum(axis=1) * advantages
            else:
                ratio, advantage = jnp.exp(log_probabilities - before), advantages[:, None]
                clipped = jnp.clip(ratio, 1 - clip, 1 + clip)
                gain = jnp.minimum(ratio * advantage, clipped * advantage).sum(axis=1)
            return -jnp.mean(gain + entropy_weight * entropies.sum(axis=1))

        for _ in range(passes):
            updates, opt_state = tx.update(jax.grad(loss)(params), opt_state)
            params = optax.apply_updates(params, updates)
        return params, opt_state

    return draw, learn, init


METHODS = {
    "random": Random,
    "evolution": Evolution,
    "reinforce": functools.partial(Controller, update="reinforce"),
    "ppo": functools.partial(Controller, update="ppo"),
}


def check(name: str) -> None:
    """Raises ValueError where there is no such method."""
    if name not in METHODS:
        raise ValueError(f"nas.methods: unknown {name!r}; choose among {', '.join(METHODS)}")


def make(name: str, space: Space, seed: int, **fields) -> Any:
    """Returns the method `name`, one of METHODS, with these fields.

    Raises:
      ValueError: no such method or field.
    """
    check(name)
    try:
        return METHODS[name](space, seed, **fields)
    except TypeError as error:
        raise ValueError(f"nas.{name}: {error}") from error
