"""``torch.compile`` of the parts that take most of the time: blocks of encoder and trunk, and the language model."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from dollhouse.errors import RecipeError
from dollhouse.models.dollhouse.trunk import TrunkBlock
from dollhouse.models.vggt.layers import Block
from dollhouse.training.loss_module import LossModule
from dollhouse.training.recomputation import replaced_methods


@contextmanager
def compiled_parts(module: LossModule, enabled: bool = True) -> Iterator[None]:
    """Compile parts of a module at their first calls; its parameters keep their names.

    Activations can be computed again around it (:func:`.recomputed_activations`), not inside of it.

    Raises RecipeError where there is no compiler.
    """
    if not enabled:
        yield
        return
    check_compiler()
    parts: list[nn.Module] = [each for each in module.student.modules() if isinstance(each, (Block, TrunkBlock))]
    parts.append(module.student.language_model.base_model)
    with replaced_methods([(part, "forward") for part in parts], torch.compile):
        yield


def check_compiler() -> None:
    """Raise RecipeError where torch.compile has no compiler: of C++ for a CPU, Triton for a GPU."""
    if torch.cuda.is_available():
        from torch.utils._triton import has_triton

        if not has_triton():
            raise RecipeError("compile: torch finds no Triton for this GPU: install it, or take out compile")
        return
    named = os.environ.get("CXX") or ("cl" if sys.platform == "win32" else "g++")
    if shutil.which(named) is None and shutil.which("clang++") is None:
        raise RecipeError(f"compile: there is no C++ compiler ({named}) on PATH: install one, or take out compile")
