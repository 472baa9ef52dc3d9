"""Searches for architectures: scripts/nas.py runs them, train.py trains what they found."""
