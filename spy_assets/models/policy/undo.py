"""Takes back a rollout that was interrupted, so that whole ones need no copy of all state."""

from __future__ import annotations

from collections.abc import Callable

import torch

#: Brings back what was remembered, bit by bit.
Undo = Callable[[], None]


def mark_learnt(optimizer: torch.optim.Optimizer, *modules: torch.nn.Module) -> Undo:
    """Remember weights and the optimizer's state; what is brought back is the same tensors.

    Parameters
    ----------
    optimizer
        Whose state is a tensor per name and parameter, as that of Adam and RMSprop.
    modules
        Modules whose parameters and buffers change with it.
    """
    known = list(optimizer.state)
    live = [tensor.detach() for module in modules for tensor in module.parameters()]
    live += [tensor for module in modules for tensor in module.buffers()]
    live += [tensor for one in known for tensor in optimizer.state[one].values()]
    kept = [tensor.clone() for tensor in live]

    def undo() -> None:
        for tensor, before in zip(live, kept, strict=True):
            tensor.copy_(before)
        for parameter in set(optimizer.state) - set(known):  # made by the first step
            del optimizer.state[parameter]

    return undo
