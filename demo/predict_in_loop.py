"""A Q-learning agent that asks predict() for one state at a time: each call starts a loop of Keras for one row
(finding host.predict_in_loop).

The world is a walk of ten fields; the reward is at its right end. tfgpu-tui demo/predict_in_loop.py
"""

import sys
from collections import deque

import keras
import numpy as np

EPISODES = int(sys.argv[1]) if len(sys.argv) > 1 else 8
FIELDS, RIGHT, MOVES = 10, 1, 20

dice = np.random.default_rng(0)
memory = deque(maxlen=1000)
states = np.eye(FIELDS, dtype=np.float32)
model = keras.Sequential(
    [
        keras.Input((FIELDS,)),
        keras.layers.Dense(64, activation="relu", name="hidden"),
        keras.layers.Dense(2, name="value"),
    ]
)
model.compile("adam", "mse")


def best_values(field):
    return model.predict(states[field : field + 1], verbose=0)[0]


def learn():
    for number in dice.integers(0, len(memory), 4):
        field, move, reward, then = memory[number]
        wanted = best_values(field)
        wanted[move] = reward + 0.9 * best_values(then).max()
        model.train_on_batch(states[field : field + 1], wanted[None])


for episode in range(EPISODES):
    field, moves = 0, 0
    while field < FIELDS - 1 and moves < MOVES:
        move = int(dice.integers(2)) if dice.random() < 0.3 else int(best_values(field).argmax())
        then = min(field + 1, FIELDS - 1) if move == RIGHT else max(field - 1, 0)
        memory.append((field, move, float(then == FIELDS - 1), then))
        field, moves = then, moves + 1
        if moves % 4 == 0:
            learn()
    print(f"episode {episode + 1}: field {field} after {moves} moves")
