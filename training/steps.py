"""The compiled steps: one of training, one of evaluation."""

import jax
import jax.numpy as jnp
import optax

from training import loss as losses
from training.sharding import micro_batches, replicated, split, split_batch
from training.state import TrainState


def make_train_step(
    model,
    optimizer,
    preprocess,
    mesh,
    *,
    label_smoothing: float,
    aux_weight: float,
    total_steps: int,
    freeze_batch_stats: bool = False,
    norms: bool = False,
    state_sharding=None,
    mix=None,
    loss: losses.Loss = losses.softmax,
    teacher=None,
    accumulate_steps: int = 1,
    ema=None,
):
    """Returns the compiled `step(state, batch, key) -> (state, metrics)`; it donates the state.

    BatchNorm's batch is the whole batch, over all devices. Augmentation, dropout and drop path are
    drawn from (key, step), and the key comes from the seed. Networks with auxiliary heads add the
    losses of these, those with a schedule of their own read "progress" in the collection "schedule".

    Args:
      model: a module of `models`.
      optimizer: an optax transform.
      preprocess: `f(key, uint8 images) -> float32 images`, from `data.make_preprocess`.
      mesh: of the devices.
      label_smoothing: weight of the uniform distribution in the targets (arXiv:1512.00567, 7).
      aux_weight: of the loss of each auxiliary head (arXiv:1409.4842, section 5).
      total_steps: at which progress is 1.
      freeze_batch_stats: BatchNorm normalises by its running statistics, which stay as they are.
      norms: whether the metrics have "gradient_norm" and "parameter_norm", see `update`.
      state_sharding: of `training.sharding.of_state`; None: everything on every device.
      mix: `f(key, images, targets) -> (images, targets)`, from `data.make_mix`; None: not at all.
      loss: of `training.loss`.
      teacher: of `training.distill`, which sees the same augmented images; or None.
      accumulate_steps: micro-batches whose gradients are averaged, see `gradient`. All are augmented and
        mixed as one batch; each draws its own dropout.
      ema: see `update`.

    Raises:
      ValueError: the network computes in float16, in which small gradients are 0.
    """
    if getattr(model, "dtype", "") == "float16":
        raise ValueError(
            "model.dtype float16 does not train, since small gradients are lost in it: choose bfloat16, which "
            "takes as much memory, or float32"
        )
    num_classes = model.num_classes
    model, state_sharding = split(model, mesh), state_sharding or replicated(mesh)
    mutable = ["aux_logits"] if freeze_batch_stats else ["aux_logits", "batch_stats"]

    def step(state: TrainState, batch, key, *of_teacher):
        augment_key, dropout_key = keys(key, state.step)
        images, targets = inputs(augment_key, batch, preprocess, mix, num_classes, label_smoothing)
        progress = {"progress": state.step / total_steps}

        def loss_fn(params, batch_stats, part):
            images, targets = part["images"], part["targets"]
            learned = teacher.loss(loss, teacher.answer(*of_teacher, images)) if teacher else loss
            logits, updates = model.apply(
                {"params": params, "batch_stats": batch_stats, "schedule": progress},
                images,
                train=True,
                mutable=mutable,
                rngs={"dropout": part["dropout_key"]},
            )
            total = learned(logits, targets)
            for aux_logits in jax.tree.leaves(updates.get("aux_logits", {})):
                total += aux_weight * learned(aux_logits, targets)
            return total, (logits, updates.get("batch_stats", batch_stats))

        parts = {"images": images, "targets": targets}
        if accumulate_steps > 1:
            parts = micro_batches(parts, accumulate_steps, mesh)
            dropout_key = jax.vmap(jax.random.fold_in, (None, 0))(
                dropout_key, jnp.arange(accumulate_steps)
            )
        parts["dropout_key"] = dropout_key
        return update(state, loss_fn, optimizer, parts, norms, accumulate_steps, ema)

    of_teacher = (teacher.variables,) if teacher else ()
    compiled = jax.jit(
        step,
        in_shardings=(
            state_sharding,
            split_batch(mesh),
            replicated(mesh),
            *(replicated(mesh) for _ in of_teacher),
        ),
        out_shardings=(state_sharding, replicated(mesh)),
        donate_argnums=0,
    )
    if not teacher:
        return compiled
    return lambda state, batch, key: compiled(state, batch, key, *of_teacher)


def keys(key, step):
    """Returns the keys of a step: (of the augmentation, of dropout and drop path)."""
    return jax.random.split(jax.random.fold_in(key, step))


def inputs(key, batch, preprocess, mix, num_classes: int, label_smoothing: float):
    """Returns (images as a network sees them, what it should answer, [N, num_classes]) of a batch.

    For `preprocess`, `mix` and `label_smoothing` see `make_train_step`.
    """
    images = preprocess(key, batch["image"])
    targets = smooth(batch["label"], num_classes, label_smoothing)
    return mix(key, images, targets) if mix else (images, targets)


def smooth(labels, num_classes: int, label_smoothing: float):
    """Returns what a network should answer, [N, num_classes], of labels [N]; see `make_train_step`."""
    return optax.smooth_labels(jax.nn.one_hot(labels, num_classes), label_smoothing)


def update(
    state: TrainState,
    loss_fn,
    optimizer,
    batch: dict,
    norms: bool = False,
    accumulate_steps: int = 1,
    ema=None,
):
    """Returns (the state after one step of the optimizer, {"loss": ..., "top1": ...} before it).

    Args:
      state: with float32 parameters.
      loss_fn: see `gradient`, as are `batch` and `accumulate_steps`.
      optimizer: an optax transform. With an `at` (lookahead, schedule-free) the pass is one of the weights
        that it returns. With a `climb` (SAM) the gradient is that at the weights to which it leads from there;
        loss, top1 and BatchNorm's statistics are those of the first of the two passes.
      batch: has "targets", [N, num_classes], the probabilities that the network should answer.
      norms: whether to add the Euclidean norms of all gradients together, as the optimizer gets them, and of
        all parameters.
      ema: `f(average, state) -> average` of the weights, from `training.ema`; None: there is none.
    """
    at, climb = (getattr(optimizer, name, None) for name in ("at", "climb"))
    params = at(state.params, state.opt_state) if at else state.params
    (total, (logits, batch_stats)), grads = gradient(
        loss_fn, params, state.batch_stats, batch, accumulate_steps
    )
    if climb:
        above = optax.tree.add(params, climb(grads))
        _, grads = gradient(loss_fn, above, state.batch_stats, batch, accumulate_steps)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    new_state = TrainState(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        batch_stats=batch_stats,
        opt_state=opt_state,
    )
    if ema:
        new_state = new_state.replace(ema=ema(state.ema, new_state))
    top1 = jnp.mean(jnp.argmax(logits, axis=-1) == jnp.argmax(batch["targets"], axis=-1))
    metrics = {"loss": total, "top1": top1}
    if norms:
        metrics["gradient_norm"] = optax.tree.norm(grads)
        metrics["parameter_norm"] = optax.tree.norm(state.params)
    return new_state, metrics


def gradient(loss_fn, params, batch_stats, batch, accumulate_steps: int = 1):
    """Returns ((loss, (logits, batch_stats)), gradients) of a batch.

    Of micro-batches loss and gradients are the means, which are those of the whole batch but for two
    things. BatchNorm normalises by the statistics of a micro-batch, and its running ones move at each.
    Class weights divide by the labels of a micro-batch.

    Args:
      loss_fn: `f(params, batch_stats, batch) -> (loss, (logits [N, num_classes], batch_stats))`.
      params: at which to differentiate.
      batch_stats: before the batch.
      batch: arrays [N, ...], or with micro-batches [accumulate_steps, N / accumulate_steps, ...]; the
        logits are, too.
      accumulate_steps: number of micro-batches, one after the other.
    """
    of_batch = jax.value_and_grad(loss_fn, has_aux=True)
    if accumulate_steps == 1:
        return of_batch(params, batch_stats, batch)

    def add(sums, part):
        total, grads, batch_stats = sums
        (of_part, (logits, batch_stats)), grads_of_part = of_batch(params, batch_stats, part)
        return (total + of_part, optax.tree.add(grads, grads_of_part), batch_stats), logits

    start = jnp.zeros(()), optax.tree.zeros_like(params), batch_stats
    (total, grads, batch_stats), logits = jax.lax.scan(add, start, batch)
    total, grads = optax.tree.scale(1 / accumulate_steps, (total, grads))
    return (total, (logits, batch_stats)), grads


def fields(config) -> dict:
    """Returns the arguments of `make_train_step` that are fields of a config."""
    return {
        "label_smoothing": config.label_smoothing,
        "aux_weight": config.aux_weight,
        "freeze_batch_stats": config.optimizer.freeze_batch_stats,
        "norms": config.log_norms,
        "accumulate_steps": config.accumulate_steps,
    }


def intervals(config, steps_per_epoch: float) -> list[int]:
    """Returns the steps of a run, those between two evaluations, and between two checkpoints; see `interval`."""
    return [
        interval(config[f"{what}_steps"], config[f"{what}_epochs"], steps_per_epoch)
        for what in ("total", "eval", "checkpoint")
    ]


def due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def interval(in_steps: int, in_epochs: float, steps_per_epoch: float) -> int:
    """Returns a length in steps; the one in steps wins where it is above 0. 0 means never."""
    if in_steps or not in_epochs:
        return in_steps
    return max(1, round(in_epochs * steps_per_epoch))


def make_key(seed: int, mesh):
    """Returns the random key that `step` draws from, on every device of every process."""
    return jax.jit(jax.random.key, out_shardings=replicated(mesh))(seed)


def make_eval_step(model, preprocess, mesh, state_sharding=None):
    """Returns the compiled `step(state, batch) -> sums` of loss, top1, top5 and images.

    Several views of an image are judged by the mean of their probabilities (AlexNet, section 4.1).

    Args:
      model: a module of `models`.
      preprocess: `f(uint8 images) -> float32 [views, N, H, W, C]`, from `data.make_preprocess`.
      mesh: of the devices.
      state_sharding: as in `make_train_step`.
    """
    log_probabilities, state_sharding = _judge(model, preprocess, mesh, state_sharding)

    def step(state: TrainState, batch):
        scores = log_probabilities(state, batch["image"])
        label = batch["label"][:, None]
        of_label = jnp.take_along_axis(scores, label, axis=-1)
        # On ties the lower class number wins, as in argmax.
        before = jnp.arange(scores.shape[-1]) < label
        rank = jnp.sum((scores > of_label) | ((scores == of_label) & before), axis=-1)
        mask = batch["mask"]
        answered = mask * ~jnp.isnan(of_label[:, 0])  # NaN is below nothing, and wrong
        return {
            "loss": -jnp.sum(jnp.where(mask > 0, of_label[:, 0], 0)),
            "top1": jnp.sum((rank < 1) * answered),
            "top5": jnp.sum((rank < 5) * answered),
            "images": jnp.sum(mask),
        }

    return jax.jit(
        step,
        in_shardings=(state_sharding, split_batch(mesh)),
        out_shardings=replicated(mesh),
    )


def make_answer_step(model, preprocess, mesh):
    """Returns the compiled `step(state, batch) -> probabilities [N, num_classes]`; see `make_eval_step`."""
    log_probabilities, state_sharding = _judge(model, preprocess, mesh)
    return jax.jit(
        lambda state, batch: jnp.exp(log_probabilities(state, batch["image"])),
        in_shardings=(state_sharding, split_batch(mesh)),
        out_shardings=replicated(mesh),
    )


def _judge(model, preprocess, mesh, state_sharding=None):
    """Returns (`f(state, images) -> log-probabilities` of images with several views, state's sharding)."""
    model = split(model, mesh)

    def log_probabilities(state: TrainState, images):
        variables = {"params": state.params, "batch_stats": state.batch_stats}

        def of_view(view):
            return jax.nn.log_softmax(model.apply(variables, view, train=False))

        views = preprocess(images)
        scores = jax.lax.map(of_view, views)
        return jax.nn.logsumexp(scores, axis=0) - jnp.log(len(views))

    return log_probabilities, state_sharding or replicated(mesh)


@jax.jit
def all_finite(state: TrainState):
    """Whether parameters, statistics, the optimizer's state and the average hold no infinity and no NaN."""
    leaves = jax.tree.leaves((state.params, state.batch_stats, state.opt_state, state.ema))
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()
