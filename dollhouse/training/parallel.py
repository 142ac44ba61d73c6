"""Several processes of one run, started by torchrun or accelerate: what they share, and parameters sharded by FSDP2."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map

from dollhouse.errors import RecipeError
from dollhouse.models.dollhouse.serialization import single_weights
from dollhouse.training.config import Recipe

ENDED = "another process of this run ended: the same command continues the run"


def connect(recipe: Recipe) -> None:
    """Join the other processes of a run, if it has any.

    Raises RecipeError where the micro-batches of a stage cannot be dealt out evenly.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    for name, stage in recipe.stages.items():
        if stage.micro_batches % count:
            raise RecipeError(
                f"{count} processes cannot share the {stage.micro_batches} micro-batches of a step evenly: set "
                f"stages.{name}.micro_batches to a multiple of {count}, in a new run"
            )
    if count > 1:
        PartialState(cpu=not torch.cuda.is_available())


def processes() -> int:
    """Return the number of processes of the run."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return this process's number; process 0 writes all files of a run."""
    return dist.get_rank() if dist.is_initialized() else 0


def barrier() -> None:
    """Wait for the other processes."""
    if processes() > 1:
        dist.barrier()


@contextmanager
def first_process_first() -> Iterator[None]:
    """Let process 0 run a block before the others, which then find the files that it wrote."""
    if rank():
        barrier()
    yield
    if not rank():
        barrier()


def largest(value: int) -> int:
    """Return the largest of the processes' values."""
    return max(everywhere(value))


def everywhere(value: Any) -> list[Any]:
    """Return the value of every process, by its number."""
    if processes() == 1:
        return [value]
    values: list[Any] = [None] * processes()
    dist.all_gather_object(values, value)
    return values


def total(numbers: Mapping[str, float]) -> dict[str, float]:
    """Return sums over the processes, by name."""
    sums: Counter[str] = Counter()
    for each in everywhere(dict(numbers)):
        sums.update(each)
    return dict(sums)


def is_lost_process(error: BaseException) -> bool:
    """Return whether an error is torch's report that another process does not answer."""
    if processes() == 1 or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, dist.DistError) or any(word in str(error) for word in ("gloo", "NCCL", "onnection "))


def shard(module: nn.Module, device: torch.device) -> nn.Module:
    """Shard the trained parameters of a module over all processes, in place.

    They form one group, which is gathered for each forward and backward pass: processes whose micro-batches call
    submodules a different number of times then still agree on the collectives. Between passes each process holds its
    share of parameters, gradients and optimizer states. Frozen parameters, and scalars, are whole in every process.
    """
    module.to(device)
    whole = {parameter for parameter in module.parameters() if not parameter.requires_grad or not parameter.ndim}
    mesh = init_device_mesh(device.type, (processes(),))
    fully_shard(module, mesh=mesh, ignored_params=whole)
    module._is_accelerate_prepared = True  # type: ignore[assignment]  # so that it is not wrapped once more
    return module


def is_sharded(module: nn.Module) -> bool:
    """Return whether :func:`shard` sharded a module."""
    return any(isinstance(parameter, DTensor) for parameter in module.parameters())


def single_state(module: nn.Module) -> dict[str, Tensor]:
    """Return all weights as they are held, tied ones once."""
    if not is_sharded(module):
        return single_weights(module)
    single: dict[int, tuple[str, Tensor]] = {}
    for name, value in module.state_dict(keep_vars=True).items():
        single.setdefault(id(value), (name, value.detach()))
    return dict(single.values())


def whole_weights(module: nn.Module) -> dict[str, Tensor]:
    """Return all weights, tied ones once, gathered in process 0 where they are sharded. Every process must call it."""
    gathered: dict[str, Tensor] = gather(single_state(module))
    return gathered


def gather(tree: Any, to_all: bool = False) -> Any:
    """Return nested containers with all sharded tensors whole, on the CPU. Every process must call it.

    Only process 0 holds all of them at once, unless ``to_all``: the others get None in their places.
    """

    def whole(leaf: Any) -> Any:
        if not isinstance(leaf, DTensor):
            return leaf
        tensor = leaf.full_tensor()
        return tensor.cpu() if to_all or rank() == 0 else None

    return tree_map(whole, tree)


def shard_like(value: Tensor, like: Tensor) -> Tensor:
    """Return this process's share of a whole tensor, where ``like`` is sharded."""
    if not isinstance(like, DTensor) or isinstance(value, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def load_whole_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> Any:
    """Load whole weights into a sharded module; return what ``load_state_dict`` returns."""
    own = module.state_dict()
    shares = {name: shard_like(value, own[name]) if name in own else value for name, value in weights.items()}
    return module.load_state_dict(shares, strict=False)


def clip_sharded(module: nn.Module, limit: float) -> Tensor:
    """Average the gradients that FSDP2 leaves to each process, then clip all by their common norm, which is returned.

    Every process must call it.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    scalars = [parameter for parameter in trained if not isinstance(parameter, DTensor)]
    grads = [parameter.grad.to_local() for parameter in trained if isinstance(parameter.grad, DTensor)]
    device = trained[0].device
    rows = [[0.0, 0.0] if scalar.grad is None else [float(scalar.grad), 1.0] for scalar in scalars]
    squares = sum((grad.double().square().sum() for grad in grads), torch.zeros((), dtype=torch.double, device=device))
    shared = torch.cat([torch.tensor(rows, dtype=torch.double, device=device).flatten(), squares.reshape(1)])
    dist.all_reduce(shared)
    means = shared[:-1].reshape(-1, 2)
    means[:, 0] /= processes()
    norm = (shared[-1] + means[:, 0].square().sum()).sqrt()
    factor = float((limit / (norm + 1e-6)).clamp(max=1.0))
    for scalar, (mean, used) in zip(scalars, means.tolist(), strict=True):
        scalar.grad = torch.full_like(scalar, mean * factor) if used else None
    for grad in grads:
        grad.mul_(factor)
    return norm.float()
