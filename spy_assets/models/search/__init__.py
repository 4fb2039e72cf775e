"""Search for hyper-parameters inside a training window.

``spaces`` says what may be changed, ``study`` searches: with Optuna, pruned by the median, continued
after any kill. Importing this package is light.
"""
