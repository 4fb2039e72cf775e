"""The daily options policy: how it is trained, its weights-only file and its NumPy forward pass.

Importing this package is light: ``train`` and ``select`` import PyTorch only when called. The modules
that they call then (``agents``, ``actor_critic``, ``dqn``, ``network``) import it at once.
"""
