"""Linear algebra per item: right, for any shape and type, and each item alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sfumato.linalg import conjugate_gradient, dot, gmres, norm, operator_norm, per_item
from sfumato.noise import Streams

TYPES = [torch.float32, torch.float64, torch.complex64, torch.complex128]
SHAPE = (3, 2, 4)
Solve = Callable[..., Tensor]


def noise(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return Streams(seed, range(shape[0])).normal(torch.zeros(shape, dtype=dtype))


def general(dtype: torch.dtype) -> Tensor:
    return noise(3, 8, 8, dtype=dtype) + 4 * torch.eye(8, dtype=dtype)


def positive(dtype: torch.dtype) -> Tensor:
    half = noise(3, 8, 8, dtype=dtype)
    return half @ half.mH + torch.eye(8, dtype=dtype)


def applied(matrices: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: (matrices @ x.reshape(len(x), 8, 1)).reshape(x.shape)


def precise(dtype: torch.dtype) -> float:
    return 1e-4 if dtype in {torch.float32, torch.complex64} else 1e-9


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize(
    ("solve", "matrices"),
    [(conjugate_gradient, positive), (gmres, positive), (gmres, general)],
    ids=["cg", "gmres-hermitian", "gmres-general"],
)
def test_a_solution_solves(solve: Solve, matrices: Solve, dtype: torch.dtype) -> None:
    a, b = matrices(dtype), noise(*SHAPE, dtype=dtype, seed=1)
    x = solve(applied(a), b, tolerance=1e-12, iterations=40)
    assert x.dtype == dtype
    torch.testing.assert_close(applied(a)(x), b, rtol=0, atol=10 * precise(dtype))


@pytest.mark.parametrize("solve", [conjugate_gradient, gmres])
def test_an_item_is_solved_as_if_it_were_alone(solve: Solve) -> None:
    a, b = positive(torch.float64), noise(*SHAPE, dtype=torch.float64, seed=1)
    b = b * torch.tensor([1e-6, 1.0, 1e6])[:, None, None]
    together = solve(applied(a), b, tolerance=1e-3, iterations=30)
    for i in range(3):
        alone = solve(applied(a[i : i + 1]), b[i : i + 1], tolerance=1e-3, iterations=30)
        torch.testing.assert_close(alone, together[i : i + 1], rtol=1e-9, atol=0)


@pytest.mark.parametrize("solve", [conjugate_gradient, gmres])
def test_the_answer_is_a_right_start_left_alone(solve: Solve) -> None:
    a, x = positive(torch.float64), noise(*SHAPE, dtype=torch.float64, seed=2)
    found = solve(applied(a), applied(a)(x), start=x, tolerance=1e-8)
    assert torch.equal(found, x)


@pytest.mark.parametrize("solve", [conjugate_gradient, gmres])
def test_a_zero_right_hand_side_gives_zero(solve: Solve) -> None:
    zero = torch.zeros(SHAPE, dtype=torch.float64)
    assert torch.equal(solve(applied(positive(torch.float64)), zero), zero)


@pytest.mark.parametrize("solve", [conjugate_gradient, gmres])
def test_a_singular_consistent_system_is_solved(solve: Solve) -> None:
    a = torch.diag_embed(torch.tensor([3.0, 2, 1, 5, 0, 0, 0, 0]).double()).expand(3, 8, 8)
    b = applied(a)(noise(*SHAPE, dtype=torch.float64))
    x = solve(applied(a), b, tolerance=1e-12)
    torch.testing.assert_close(applied(a)(x), b)
    assert float(x.flatten(1)[:, 4:].abs().max()) == 0


def test_a_preconditioner_saves_steps() -> None:
    scale = torch.logspace(0, 6, 8, dtype=torch.float64)
    a, b = torch.diag_embed(scale).expand(3, 8, 8), noise(*SHAPE, dtype=torch.float64)

    def inverse(x: Tensor) -> Tensor:
        return x / scale.reshape(2, 4)

    x = conjugate_gradient(applied(a), b, precondition=inverse, tolerance=1e-10, iterations=2)
    torch.testing.assert_close(applied(a)(x), b)


def test_conjugate_gradients_stop_where_the_matrix_is_not_positive() -> None:
    a = torch.stack([torch.eye(8), -torch.eye(8)]).double()
    b = noise(2, 2, 4, dtype=torch.float64)
    x = conjugate_gradient(applied(a), b)
    torch.testing.assert_close(x[0], b[0])
    assert torch.equal(x[1], torch.zeros_like(x[1]))


def test_dot_is_the_real_inner_product_of_each_item() -> None:
    a, b = (noise(*SHAPE, dtype=torch.complex64, seed=seed) for seed in (0, 1))
    expected = (a.conj() * b).flatten(1).sum(1).real
    assert dot(a, b).dtype == torch.float64
    torch.testing.assert_close(dot(a, b).float(), expected)
    torch.testing.assert_close(norm(a) ** 2, dot(a, a))


def test_sums_do_not_lose_small_terms_in_single_precision() -> None:
    x = torch.full((1, 10_000_001), 1e-4)
    x[0, 0] = 1e4
    assert float(dot(x, x)) == pytest.approx(1e8 + 0.1, rel=1e-12)


def test_one_number_per_item_multiplies_its_item() -> None:
    x = noise(*SHAPE, dtype=torch.complex64)
    scaled = per_item(torch.tensor([1.0, 2, 3], dtype=torch.float64), x) * x
    assert scaled.dtype == x.dtype
    torch.testing.assert_close(scaled[2], 3 * x[2])


def test_the_operator_norm_is_the_largest_singular_value() -> None:
    a = general(torch.float64)

    def gram(x: Tensor) -> Tensor:
        return applied(a.mH)(applied(a)(x))

    found = operator_norm(gram, noise(*SHAPE, dtype=torch.float64), iterations=400)
    torch.testing.assert_close(found, torch.linalg.matrix_norm(a, ord=2), rtol=1e-3, atol=0)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("size", [1, 255, 256, 1000])
def test_a_scalar_product_is_right_for_any_length_and_alone_as_in_a_batch(
    size: int, dtype: torch.dtype
) -> None:
    a, b = noise(3, size, dtype=dtype), noise(3, size, dtype=dtype, seed=1)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    expected = (a.to(wide).conj() * b.to(wide)).real.sum(dim=1)
    bound = 1e-6 if dtype in {torch.float32, torch.complex64} else 1e-14
    torch.testing.assert_close(dot(a, b), expected, rtol=0, atol=bound * size)
    # single products are vectorised in ways that depend on where they lie in memory
    torch.testing.assert_close(dot(a[1:2], b[1:2]), dot(a, b)[1:2], rtol=0, atol=bound)
