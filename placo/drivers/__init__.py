"""The outside world, one module a technology; `ports.py` has the contracts. Nothing here imports Django."""
