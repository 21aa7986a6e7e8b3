"""
Reinforcement learning
======================

A policy is a network whose targets nobody knows: only rewards tell which of its choices were good. The gradient of
the expected reward is the mean of advantage · ∂ log π (REINFORCE, Williams 1992). It is no loss of targets, but
`backward(dA=…)` takes any derivative by the outputs.

The task is small enough to run here: a ball falls from the top of a 7 × 7 field, and a paddle at the bottom, which
moves by one place in each step, must catch it.
"""

import matplotlib.pyplot as plt
import numpy as np

from fastprop import Adam, Network

SIZE = 7


def play(policy, games, rng):
    """Play games side by side; return states (games · steps, 4), moves, and the rewards of the games."""
    ball, drift = rng.integers(SIZE, size=games), rng.integers(-1, 2, games)
    paddle = rng.integers(SIZE, size=games)
    states, moves = [], []
    for height in range(SIZE - 1, 0, -1):
        state = np.column_stack([ball, drift, paddle, np.full(games, height)]) / (SIZE / 2) - 1
        P = policy.predict(state)
        move = (rng.random((games, 1)) > P.cumsum(axis=1)).sum(axis=1).clip(0, 2)
        states.append(state)
        moves.append(move)
        paddle = (paddle + move - 1).clip(0, SIZE - 1)
        ball = ball + drift
        drift = np.where((ball < 0) | (ball >= SIZE), -drift, drift)  # it comes back from the walls
        ball = ball.clip(0, SIZE - 1)
    return np.concatenate(states), np.concatenate(moves), np.where(ball == paddle, 1.0, 0.0)


rng = np.random.default_rng(0)
policy, optimizer, caught = Network((4, 64, 3), hidden="tanh", output="softmax", rng=0), Adam(lr=0.01), []
for _ in range(600):
    states, moves, rewards = play(policy, 128, rng)
    caught.append(rewards.mean())
    advantages = np.tile(rewards - rewards.mean(), SIZE - 1)
    P = policy.forward(states)
    chosen = np.eye(3)[moves]
    policy.backward(dA=-chosen / P * advantages[:, None] / len(states))  # of −mean(advantage · log P of the move)
    policy.step(optimizer)

# %%
figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
axes.plot(caught, color="#0072b2")
axes.set(xlabel="iteration, of 128 games", ylabel="share of the balls caught", ylim=(0, 1.02))
print(f"at first {np.mean(caught[:5]):.0%} of the balls, at last {np.mean(caught[-20:]):.0%}")
assert np.mean(caught[-20:]) > 0.8

# %%
# ``scripts/reinforce.py`` balances a pole on a cart in the same way, with discounted rewards.
