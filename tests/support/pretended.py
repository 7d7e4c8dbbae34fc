"""A second device without hardware: what is on it and what is on the CPU refuse to meet.

A tensor of the pretended device, ``lazy:0``, keeps its numbers in a CPU tensor and says that it is
elsewhere. Every operation is checked by CUDA's rules before it is done: operands on one device, but
for 0-dimensional tensors in elementwise operations and for indices; random generators on the device
of what they fill; no ``numpy()``. Whoever forgets a device is found without a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

__all__ = ["DEVICE", "pretended"]

DEVICE = torch.device("lazy", 0)
aten = torch.ops.aten
CROSSES = {aten._to_copy.default, aten.copy_.default, aten._local_scalar_dense.default}
"""What may carry numbers from one device to the other."""
INDEXES = {
    aten.index.Tensor, aten.index_put_.default, aten.index_put.default,
    aten._index_put_impl_.default,
}  # fmt: skip
STRICT = {
    "cat", "stack", "mm", "bmm", "addmm", "baddbmm", "mv", "dot", "convolution", "gather",
    "scatter", "scatter_", "scatter_add", "scatter_add_", "index_select", "index_add",
    "index_add_", "searchsorted", "bucketize", "_linalg_svd", "_linalg_solve_ex",
    "linalg_cholesky_ex", "_linalg_eigh",
}  # fmt: skip
"""Operations that take no 0-dimensional tensor of another device."""


class Elsewhere(Tensor):
    """A tensor on the pretended device."""

    here: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, here: Tensor) -> Elsewhere:
        made: Elsewhere = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, here.size(), strides=here.stride(), storage_offset=here.storage_offset(),
            dtype=here.dtype, device=DEVICE, requires_grad=False,
        )  # fmt: skip
        made.here = here
        return made

    def __repr__(self, **options: Any) -> str:
        return f"Elsewhere({self.here!r})"

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return done(func, args, kwargs or {})

    def numpy(self, *args: Any, **options: Any) -> NoReturn:
        raise TypeError("a tensor of the pretended device has no numpy(); copy it to the CPU first")

    __array__ = numpy

    def tolist(self) -> Any:
        return self.cpu().tolist()


class Dispatch(TorchDispatchMode):
    """Makes new tensors on the pretended device where it is asked for."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return done(func, args, kwargs or {})


class Literals(TorchFunctionMode):
    """Makes tensors of Python's numbers in view of ``Dispatch``, which ``torch`` does not."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and asked(kwargs.get("device")):
            del kwargs["device"]
            return func(*args, **kwargs).to(DEVICE)
        if func in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[1], list):
            args = (args[0], torch.tensor(args[1]), *args[2:])
        return func(*args, **kwargs)


@contextmanager
def pretended() -> Iterator[torch.device]:
    """While it lasts there is the pretended device, and modules can be moved to it."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with Dispatch(), Literals():
            yield DEVICE
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)


def done(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The result of an operation, on the device where CUDA would leave it."""
    tensors = [v for v in tree_leaves((args, kwargs)) if isinstance(v, Tensor)]
    there = [v for v in tensors if isinstance(v, Elsewhere)]
    if there and func not in CROSSES:
        check(func, args, tensors)
    device = kwargs.get("device")
    stays = bool(there) if device is None else asked(device)
    if func is aten.copy_.default:
        stays = isinstance(args[0], Elsewhere)
    elif func is aten._local_scalar_dense.default:
        stays = False
    draws = any(isinstance(v, torch.Generator) for v in (*args, *kwargs.values()))
    if stays and draws:
        raise RuntimeError(f"{func}: a generator of the CPU for a tensor of the pretended device")
    told = {**kwargs, **({"device": torch.device("cpu")} if stays and device is not None else {})}
    result = func(*tree_map(bare, args), **tree_map(bare, told))
    if not stays:
        return result
    known = {id(v.here): v for v in there}
    return tree_map(lambda v: known[id(v)] if id(v) in known else wrapped(v), result)


def check(func: Any, args: tuple[Any, ...], tensors: list[Tensor]) -> None:
    """Raises ``RuntimeError`` where CUDA would, for operands on two devices."""
    here = [v for v in tensors if not isinstance(v, Elsewhere)]
    writes = func._schema.name.endswith("_") and not isinstance(args[0], Elsewhere)
    if func in INDEXES:
        values = args[2] if len(args) > 2 else None
        wrong = not isinstance(args[0], Elsewhere)
        wrong |= any(v is values and v.ndim > 0 for v in here)
    else:
        strict = writes or func.overloadpacket.__name__ in STRICT
        wrong = any(strict or v.ndim > 0 for v in here)
    if wrong:
        sizes = [tuple(v.shape) for v in here]
        raise RuntimeError(f"{func}: tensors {sizes} of the CPU and others of the pretended device")


def asked(device: Any) -> bool:
    return device is not None and torch.device(device).type == DEVICE.type


def bare(value: Any) -> Any:
    return value.here if isinstance(value, Elsewhere) else value


def wrapped(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    # below autograd nothing looks at the bits of lazy conjugates and negatives
    return Elsewhere(value.resolve_conj().resolve_neg())
