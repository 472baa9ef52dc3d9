"""Children in one compiled network: a fixed, short training, and the accuracy on validation images."""

import math

import jax
import jax.numpy as jnp
import optax

import data
from nas import supernet
from training import optimizer, steps
from training.loss import softmax
from training.state import TrainState, quick_compilation


class Proxy:
    """Trains any cell of a space, alone or with shared weights, without compiling anew."""

    def __init__(self, config, nodes: int, operations: tuple[str, ...]):
        """Reads the images into memory.

        Args:
          config: of a child's training; its eval_split is the validation split.
          nodes: of each cell.
          operations: that a node may choose from.
        """
        self.config, self.operations = config, tuple(operations)
        self.model = supernet.of_config(config.model, nodes, operations)
        source, validation = (data.open_source(config.input, train) for train in (True, False))
        if config.input.in_memory:
            source = data.load(source, config.input)
        self._source = source
        size = math.ceil(len(validation) / math.ceil(len(validation) / 250))
        self._validation = [
            jax.tree.map(jnp.asarray, batch)
            for batch in data.make_eval(validation, config.input, size)
        ]
        self._counted = [float(batch["mask"].sum()) for batch in self._validation]
        steps_per_epoch = len(source) / config.batch_size
        self.total_steps = steps.interval(config.total_steps, config.total_epochs, steps_per_epoch)
        self._tx, _ = optimizer.make(
            config.optimizer, config.batch_size, self.total_steps, steps_per_epoch
        )
        self._init = jax.jit(self._make, compiler_options=quick_compilation())
        self._step = jax.jit(self._train_step, donate_argnums=0)
        self._eval = jax.jit(self._right, static_argnames="batch_statistics")

    def compile(self, shares: bool) -> None:
        """Compiles all that a child needs, so that the first one takes no longer than the others.

        Args:
          shares: whether weights will be shared, too: they are judged by another program.
        """
        state, terms = self.create(0), jnp.zeros((2, 2 * self.model.nodes, 3), jnp.int32)
        state, _ = self.step(state, next(self.batches(0)), terms, 0)
        for batch_statistics in (False, True)[: 1 + shares]:
            self.accuracy(state, terms, batch_statistics, batch=0)

    def train(self, genotype) -> dict:
        """Trains a cell with fresh weights; the same for each, as is the order of the images.

        Returns:
          "accuracy" on the validation images; or "error", where the loss or a weight is not finite.
        """
        seed = self.config.seed
        state, terms = self.create(seed), self.terms(genotype)
        batches = self.batches(seed)
        for _ in range(self.total_steps):
            state, loss = self.step(state, next(batches), terms, seed)
        if not jnp.isfinite(loss) or not steps.all_finite(state):
            return {"error": "the loss or a weight is not finite"}
        return {"accuracy": self.accuracy(state, terms)}

    def create(self, seed: int) -> TrainState:
        """Returns fresh weights of all operations."""
        return self._init(jax.random.key(seed))

    def batches(self, seed: int, start_step: int = 0):
        """Returns the endless batches of training images, from a step on."""
        config = self.config
        return data.make_train(self._source, config.input, config.batch_size, seed, start_step)

    def terms(self, genotype):
        """Returns the genotype as the supernet takes it."""
        return jnp.asarray(supernet.terms(genotype, self.operations))

    def step(self, state: TrainState, batch, terms, seed: int, clip_norm: float = 0.0):
        """Takes a training step of one cell, with a gradient of at most so large a norm; 0: of any.

        Returns:
          (state, loss); the old state is donated.
        """
        return self._step(state, batch, terms, jax.random.key(seed), clip_norm or math.inf)

    def accuracy(
        self, state: TrainState, terms, batch_statistics: bool = False, batch=None
    ) -> float:
        """Returns top-1 on the validation images, each counted once, or on one batch of them.

        Args:
          state: weights and statistics.
          terms: of the cell.
          batch_statistics: BatchNorm takes those of the batch, as shared weights need it: their
            running ones are a mixture of all cells.
          batch: number of the batch, over all passes; None: all images.
        """
        numbers = range(len(self._validation))
        chosen = numbers if batch is None else [batch % len(numbers)]
        right = [
            self._eval(
                state.params,
                state.batch_stats,
                terms,
                self._validation[i],
                batch_statistics=batch_statistics,
            )
            for i in chosen
        ]
        return float(sum(right)) / sum(self._counted[i] for i in chosen)

    def _make(self, key):
        shape = (1, *data.input_shape(self.config.input))
        terms = jnp.zeros((2, 2 * self.model.nodes, 3), jnp.int32)
        variables = self.model.init(key, jnp.zeros(shape), terms)
        opt_state = self._tx.init(variables["params"])
        step = jnp.zeros((), jnp.int32)
        return TrainState(step, variables["params"], variables["batch_stats"], opt_state)

    def _train_step(self, state: TrainState, batch, terms, key, clip_norm):
        preprocess = data.make_preprocess(self.config.input, train=True)
        key = jax.random.fold_in(key, state.step)
        mix, smoothing = data.make_mix(self.config.input), self.config.label_smoothing
        images, targets = steps.inputs(
            key, batch, preprocess, mix, self.model.num_classes, smoothing
        )

        def loss_fn(params, batch_stats, part):
            variables = {"params": params, "batch_stats": batch_stats}
            logits, updates = self.model.apply(
                variables, part["images"], terms, train=True, mutable=["batch_stats"]
            )
            return softmax(logits, part["targets"]), (logits, updates["batch_stats"])

        def clipped(grads, opt_state, params):  # without a state of its own
            grads, _ = optax.clip_by_global_norm(clip_norm).update(grads, optax.EmptyState())
            return self._tx.update(grads, opt_state, params)

        optimizer = self._tx._replace(update=clipped)
        state, metrics = steps.update(
            state, loss_fn, optimizer, {"images": images, "targets": targets}
        )
        return state, metrics["loss"]

    def _right(self, params, batch_stats, terms, batch, batch_statistics: bool):
        images = data.make_preprocess(self.config.input, train=False)(batch["image"])[0]
        variables = {"params": params, "batch_stats": batch_stats}
        if batch_statistics:
            logits, _ = self.model.apply(
                variables, images, terms, train=True, mutable=["batch_stats"]
            )
        else:
            logits = self.model.apply(variables, images, terms)
        right = (logits.argmax(-1) == batch["label"]) & ~jnp.isnan(logits).any(-1)
        return jnp.sum(right * batch["mask"])
