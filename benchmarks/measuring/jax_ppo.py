"""Run by the Python of JAX's environment: masked PPO, its environment and its update in one program.

python jax_ppo.py HYPERPARAMETERS.json, then one line of input per turn (rollouts to make); a line of
processor seconds comes out for each. Knows nothing of this project.

This is the benchmark's limit: no Python between steps, everything fused by XLA. Network, loss, Adam and
hyper-parameters are those of the preset that it is measured beside. The market is as light as one
can be made: fifteen observations, seven actions with masks, positions valued by one look-up, episodes
with an end. Lighter than ours, so the comparison favours it.
"""

import json
import os
import sys
import time
from functools import partial
from pathlib import Path

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np

SESSIONS, ENTRIES, AGES = 1_200, 5, 8
HOLD, CLOSE, ACTIONS = 5, 6, 7


def market(seed=0):
    """What the observations show, the value of each position by entry session, structure and age."""
    random = np.random.default_rng(seed)
    seen = random.random((SESSIONS, 10), dtype=np.float32)
    values = np.cumsum(random.normal(0, 0.3, (SESSIONS, ENTRIES, AGES)), axis=2)
    return jnp.asarray(seen), jnp.asarray(values, dtype=jnp.float32)


def start(key, shape, length):
    return jax.random.randint(key, shape, 0, SESSIONS - length - 1)


def reset(key, copies, length):
    zeros = jnp.zeros(copies, jnp.int32)
    return {
        "now": start(key, (copies,), length),
        "left": zeros + length,
        "held": zeros - 1,
        "entered": zeros,
        "value": jnp.zeros(copies),
        "account": jnp.ones(copies),
    }


def observe(world, seen):
    """Ten numbers of the market, five of the account; and which actions are allowed."""
    open_ = world["held"] >= 0
    age = (world["now"] - world["entered"]).astype(jnp.float32)
    own = [
        open_.astype(jnp.float32),
        (world["held"] + 1) / ENTRIES,
        jnp.clip(0.5 + world["value"], 0, 1),
        jnp.clip(age / AGES, 0, 1) * open_,
        jnp.clip(world["account"] / 2, 0, 1),
    ]
    observation = jnp.concatenate([seen[world["now"]], jnp.stack(own, axis=1)], axis=1)
    enter = jnp.repeat(~open_[:, None], ENTRIES, axis=1)
    mask = jnp.concatenate([enter, jnp.ones_like(open_)[:, None], open_[:, None]], axis=1)
    return observation, mask


def step(world, action, key, values, length):
    """Fill what was decided, look the position's value up, let it end after its last age."""
    enters = action < ENTRIES
    held = jnp.where(enters, action, world["held"])
    entered = jnp.where(enters, world["now"], world["entered"])
    now = world["now"] + 1
    age = jnp.minimum(now - entered, AGES - 1)
    value = jnp.where(held >= 0, values[entered, jnp.maximum(held, 0), age], 0.0)
    reward = value - jnp.where(enters, 0.02, world["value"])
    gone = (action == CLOSE) | (age == AGES - 1)
    left = world["left"] - 1
    done = left == 0
    fresh = start(key, now.shape, length)
    following = {
        "now": jnp.where(done, fresh, now),
        "left": jnp.where(done, length, left),
        "held": jnp.where(gone | done, -1, held),
        "entered": entered,
        "value": jnp.where(gone | done, 0.0, value),
        "account": jnp.where(done, 1.0, world["account"] + reward / 100),
    }
    return following, reward, done


def network(weights, x):
    h = jnp.tanh(x @ weights["w1"] + weights["b1"])
    h = jnp.tanh(h @ weights["w2"] + weights["b2"])
    return h @ weights["wa"] + weights["ba"], (h @ weights["wv"] + weights["bv"])[:, 0]


def new_weights(key, width, hidden):
    shapes = {
        "w1": (width, hidden),
        "w2": (hidden, hidden),
        "wa": (hidden, ACTIONS),
        "wv": (hidden, 1),
    }
    gains = {"w1": 2**0.5, "w2": 2**0.5, "wa": 0.01, "wv": 1.0}
    weights = {
        name: jax.nn.initializers.orthogonal(gains[name])(part, shape)
        for part, (name, shape) in zip(jax.random.split(key, 4), shapes.items(), strict=True)
    }
    return weights | {"b" + name[1:]: jnp.zeros(shape[1]) for name, shape in shapes.items()}


def loss(weights, batch, c):
    logits, values = network(weights, batch["observation"])
    chances = jax.nn.log_softmax(jnp.where(batch["mask"], logits, -1e8))
    log_prob = jnp.take_along_axis(chances, batch["action"][:, None], axis=1)[:, 0]
    advantage = batch["advantage"]
    advantage = (advantage - advantage.mean()) / (advantage.std(ddof=1) + 1e-8)
    ratio = jnp.exp(log_prob - batch["log_prob"])
    clipped = jnp.clip(ratio, 1 - c["clip_range"], 1 + c["clip_range"])
    policy = -jnp.minimum(advantage * ratio, advantage * clipped).mean()
    entropy = -jnp.where(batch["mask"], jnp.exp(chances) * chances, 0.0).sum(axis=1).mean()
    value = ((batch["return"] - values) ** 2).mean()
    return policy - c["ent_coef"] * entropy + c["vf_coef"] * value


def adam(weights, gradient, moments, c):
    norm = jnp.sqrt(sum((g**2).sum() for g in jax.tree.leaves(gradient)))
    scale = jnp.minimum(1.0, c["max_grad_norm"] / (norm + 1e-6))
    first, second, count = moments
    count = count + 1
    gradient = jax.tree.map(lambda g: g * scale, gradient)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)

    def moved(w, m, v):
        root = jnp.sqrt(v / (1 - 0.999**count)) + 1e-5
        return w - c["learning_rate"] * m / (1 - 0.9**count) / root

    return jax.tree.map(moved, weights, first, second), (first, second, count)


def advantages(rewards, values, dones, last, c):
    def back(carried, row):
        reward, value, done, following = row
        goes_on = 1.0 - done
        error = reward + c["gamma"] * following * goes_on - value
        carried = error + c["gamma"] * c["gae_lambda"] * goes_on * carried
        return carried, carried

    following = jnp.concatenate([values[1:], last[None]])
    rows = (rewards, values, dones.astype(jnp.float32), following)
    return jax.lax.scan(back, jnp.zeros_like(last), rows, reverse=True)[1]


def make_rollout(c):
    total = c["n_steps"] * c["n_envs"]
    batches = total // c["batch_size"]

    @partial(jax.jit, donate_argnums=0)
    def rollout(everything, seen, values):
        weights, moments, world, key = everything

        def act(carried, part):
            world = carried
            draw, fresh = jax.random.split(part)
            observation, mask = observe(world, seen)
            logits, value = network(weights, observation)
            logits = jnp.where(mask, logits, -1e8)
            action = jax.random.categorical(draw, logits)
            chances = jax.nn.log_softmax(logits)
            log_prob = jnp.take_along_axis(chances, action[:, None], axis=1)[:, 0]
            world, reward, done = step(world, action, fresh, values, c["episode_length"])
            row = {
                "observation": observation, "mask": mask, "action": action, "log_prob": log_prob,
                "value": value, "reward": reward, "done": done,
            }  # fmt: skip
            return world, row

        key, collecting, shuffling = jax.random.split(key, 3)
        world, rows = jax.lax.scan(act, world, jax.random.split(collecting, c["n_steps"]))
        last = network(weights, observe(world, seen)[0])[1]
        gained = advantages(rows["reward"], rows["value"], rows["done"], last, c)
        rows |= {"advantage": gained, "return": gained + rows["value"]}
        flat = jax.tree.map(lambda x: x.reshape(total, *x.shape[2:]), rows)

        def descend(carried, index):
            weights, moments = carried
            batch = jax.tree.map(lambda x: x[index], flat)
            gradient = jax.grad(loss)(weights, batch, c)
            return adam(weights, gradient, moments, c), None

        def epoch(carried, part):
            order = jax.random.permutation(part, total).reshape(batches, c["batch_size"])
            return jax.lax.scan(descend, carried, order)[0], None

        parts = jax.random.split(shuffling, c["n_epochs"])
        (weights, moments), _ = jax.lax.scan(epoch, (weights, moments), parts)
        return (weights, moments, world, key), rows["reward"].mean()

    return rollout


def main():
    c = json.loads(Path(sys.argv[1]).read_text())
    seen, values = market()
    key = jax.random.key(0)
    weights = new_weights(key, 15, c["hidden"][0])
    zeros = jax.tree.map(jnp.zeros_like, weights)
    moments = (zeros, jax.tree.map(jnp.zeros_like, weights), jnp.zeros(()))
    everything = (weights, moments, reset(key, c["n_envs"], c["episode_length"]), key)
    rollout = make_rollout(c)
    for _ in range(2):
        everything, reward = rollout(everything, seen, values)
    reward.block_until_ready()
    for line in sys.stdin:
        before = time.process_time()
        for _ in range(int(line)):
            everything, reward = rollout(everything, seen, values)
        print(time.process_time() - before if bool(jnp.isfinite(reward)) else "nan", flush=True)


if __name__ == "__main__":
    main()
