"""The daily options policy: masked PPO, its weights-only file and its NumPy forward pass.

Importing this package is light: ``train`` and ``select`` import PyTorch only when called.
"""
