"""State, optimizer, steps, evaluation, checkpoints, metrics: what the loop in train.py is made of."""
