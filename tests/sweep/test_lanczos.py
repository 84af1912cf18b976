"""Lanczos: eigenvalues of matrices with a prescribed spectrum."""

import pytest
import torch

from relusweep.sweep.lanczos import top_eigenpair


def matrices(spectra: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Symmetric matrices with these eigenvalues (B, p) and random eigenvectors."""
    generator = torch.Generator().manual_seed(seed)
    q, _ = torch.linalg.qr(torch.randn(*spectra.shape, spectra.shape[1], dtype=torch.float64, generator=generator))
    return q @ torch.diag_embed(spectra) @ q.mT


def products(a: torch.Tensor):
    return lambda v: torch.bmm(a, v[..., None])[..., 0]


def start(a: torch.Tensor) -> torch.Tensor:
    return torch.randn(a.shape[:2], dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("p", [1, 2, 32, 33, 200])
def test_top_eigenvalue_is_found_and_the_residual_bounds_its_error(p):
    spectra = torch.linspace(-1, 1, p, dtype=torch.float64) ** 3 * torch.tensor([[1.0], [5.0], [0.01]])
    a = matrices(spectra)
    pair = top_eigenpair(products(a), start(a))
    top = spectra.amax(1)
    assert ((pair.value - top).abs() <= pair.residual + 1e-12).all()
    torch.testing.assert_close(pair.value, top, rtol=1e-10, atol=1e-12)
    true_residual = (products(a)(pair.vector) - pair.value[:, None] * pair.vector).norm(dim=1)
    torch.testing.assert_close(pair.residual, true_residual, rtol=1e-3, atol=1e-10)


def test_algebraic_maximum_is_found_beside_a_larger_negative_eigenvalue():
    spectra = torch.cat([torch.tensor([[-100.0, 2.0]]), torch.zeros(1, 98)], 1).double()
    a = matrices(spectra)
    assert float(top_eigenpair(products(a), start(a)).value) == pytest.approx(2, rel=1e-10)


@pytest.mark.parametrize("p", [5, 33, 200])
def test_largest_eigenvalue_of_a_negative_definite_matrix_is_found(p):
    """No network's Hessian is one, since its trace is that of Gauss–Newton; a matrix that is deflated may be."""
    spectra = -(torch.linspace(1, 5, p, dtype=torch.float64)[None] ** 2)
    pair = top_eigenpair(products(a := matrices(spectra)), start(a))
    assert float(pair.value) == pytest.approx(-1, rel=1e-9)
    assert float(pair.residual) < 1e-4


def test_clustered_top_eigenvalues_do_not_spoil_the_value():
    spectra = torch.cat([2 + 1e-6 * torch.arange(20), torch.linspace(-1, 1.5, 180)]).double()[None]
    a = matrices(spectra)
    pair = top_eigenpair(products(a), start(a))
    assert float(pair.value) == pytest.approx(float(spectra.max()), rel=1e-5)


def test_start_at_another_eigenvector_is_left():
    """A start that is an eigenvector of the second eigenvalue has residual 0, and must not be believed."""
    spectra = torch.cat([torch.linspace(-0.5, 0.9, 98), torch.tensor([1.0, 1.15])]).double()[None]
    a = matrices(spectra)
    pair = top_eigenpair(products(a), torch.linalg.eigh(a).eigenvectors[..., -2])
    assert float(pair.value) == pytest.approx(float(spectra.max()), rel=1e-9)


def test_exact_start_needs_a_handful_of_products():
    spectra = torch.cat([torch.linspace(-0.1, 0.5, 298), torch.tensor([0.8, 1.0])]).double()[None]
    a = matrices(spectra)
    calls = 0

    def counted(v):
        nonlocal calls
        calls += 1
        return products(a)(v)

    top_eigenpair(counted, torch.linalg.eigh(a).eigenvectors[..., -1])
    assert calls <= 13


def test_zero_matrix_and_zero_start_give_zero():
    pair = top_eigenpair(torch.zeros_like, torch.zeros(2, 50, dtype=torch.float64))
    assert pair.value.tolist() == [0, 0]
    assert pair.residual.tolist() == [0, 0]


def test_runs_of_a_batch_do_not_disturb_each_other():
    spectra = torch.rand(3, 60, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    a = matrices(spectra)
    together = top_eigenpair(products(a), start(a)).value
    for b in range(3):
        alone = top_eigenpair(products(a[b : b + 1]), start(a)[b : b + 1]).value
        torch.testing.assert_close(together[b : b + 1], alone, rtol=1e-12, atol=0)


@pytest.mark.parametrize("p", [20, 60])
@pytest.mark.parametrize("number", [torch.inf, torch.nan, 1e200])
def test_matrix_beyond_the_largest_number_has_no_top_eigenvalue_and_the_others_have(p, number):
    """A diverging network's may be one; its pack goes on."""
    a = matrices(torch.rand(3, p, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))
    expected = top_eigenpair(products(a), start(a)).value
    a[1] *= number
    pair = top_eigenpair(lambda v: products(a)(v) * v.new_tensor([1, 1e200, 1])[:, None], start(a))
    assert pair.value[1].isnan()
    assert pair.value[::2].tolist() == expected[::2].tolist()
