import math

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch.testing import assert_close

from translate.adversarial import (
    Energy,
    Hinge,
    LeastSquares,
    MaximumLikelihood,
    Minimax,
    NonSaturating,
    Objective,
    Wasserstein,
)

ALL = [Minimax(), NonSaturating(), MaximumLikelihood(), LeastSquares(), Hinge(), Wasserstein()]
LOGISTIC = ALL[:3]
kinds = pytest.mark.parametrize("objective", ALL, ids=lambda objective: objective.kind)
logistic = pytest.mark.parametrize("objective", LOGISTIC, ids=lambda objective: objective.kind)


def gradient(loss, logits):
    logits = logits.clone().requires_grad_()
    (result,) = torch.autograd.grad(loss(logits), logits)
    return result


@pytest.mark.parametrize(
    ("name", "objective"), [("vanilla", NonSaturating()), ("lsgan", LeastSquares()), ("wgangp", Wasserstein())]
)
def test_published_values(golden, name, objective):
    logits = golden["tensors"]["logits"]
    assert_close(objective.real(logits).item(), golden[name]["real"], rtol=1e-6, atol=1e-6)
    assert_close(objective.fake(logits).item(), golden[name]["fake"], rtol=1e-6, atol=1e-6)
    # there, the generator's loss is the loss of its samples taken as real ones
    assert_close(objective.generator(logits).item(), golden[name]["real"], rtol=1e-6, atol=1e-6)


def test_hinge_by_hand():
    real, fake = torch.tensor([[-1.0], [0.5], [3.0]]), torch.tensor([[-2.0], [0.0], [1.0]])
    assert_close(Hinge().discriminator(real, fake), torch.tensor((2 + 0.5 + 0) / 3 + (0 + 1 + 2) / 3))
    assert_close(Hinge().generator(fake), torch.tensor(1 / 3))


@kinds
def test_sum_of_the_halves(objective):
    real, fake = torch.randn(4, 1, 3, 3), torch.randn(4, 1, 3, 3)
    assert_close(objective.discriminator(real, fake), objective.real(real) + objective.fake(fake))


@kinds
def test_mean_over_logits_of_any_shape(objective):
    logits = torch.randn(4, 1, 3, 3)
    for loss in (objective.real, objective.fake, objective.generator):
        each = torch.stack([loss(logit) for logit in logits.flatten()])
        for shaped in (logits, logits.view(36, 1), logits.view(36)):
            assert loss(shaped).shape == ()
            assert_close(loss(shaped), each.mean())


@logistic
def test_value_of_the_game_at_equilibrium(objective):
    """Goodfellow et al. 2014, theorem 1: -log 4, reached when D = 1/2."""
    zero = torch.zeros(5, 1)
    assert_close(objective.discriminator(zero, zero).item(), math.log(4), rtol=1e-6, atol=0)


@logistic
def test_optimal_discriminator(objective):
    """Their eq. 2 and theorem 1: logit = log p/q, where the game is worth 2 JSD - log 4."""
    p, q = torch.tensor([4, 3, 1], dtype=torch.float64), torch.tensor([1, 2, 5], dtype=torch.float64)
    logit = (p / q).log().requires_grad_()
    real, fake = logit.repeat_interleave(p.long()), logit.repeat_interleave(q.long())
    loss = objective.discriminator(real, fake)
    p, q = p / 8, q / 8
    middle = (p + q) / 2
    divergence = ((p * (p / middle).log()).sum() + (q * (q / middle).log()).sum()) / 2
    assert_close(-loss.detach(), 2 * divergence - math.log(4))
    assert_close(torch.autograd.grad(loss, logit)[0], torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)


def test_optimal_least_squares_discriminator():
    """Mao et al. 2017, eq. 4: (b p + a q) / (p + q)."""
    objective = LeastSquares(a=-1, b=2, c=2)
    logit = torch.tensor([(2.0 * 3 - 1) / 4], requires_grad=True)  # p : q = 3 : 1 at this point
    loss = 3 * objective.real(logit) + objective.fake(logit)
    assert_close(torch.autograd.grad(loss, logit)[0], torch.zeros(1), atol=1e-6, rtol=0)


def test_least_squares_codings():
    x = torch.tensor([0.25])
    chi_square = LeastSquares(a=-1, b=1, c=0)
    assert_close(chi_square.real(x), torch.tensor(0.5625))
    assert_close(chi_square.fake(x), torch.tensor(1.5625))
    assert_close(chi_square.generator(x), torch.tensor(0.0625))
    assert_close(chi_square.real(x, torch.tensor([0.75])), torch.tensor((0.25 - 0.5) ** 2))


@pytest.mark.parametrize(("a", "b", "c"), [(0, 0, 1), (0, 1, 0), (0, 1, -1), (1, 1, 1)])
def test_least_squares_refuses_a_generator_that_aims_at_fake(a, b, c):
    with pytest.raises(ValidationError, match=r"generator's aim c .* on the side of the value b"):
        LeastSquares(a=a, b=b, c=c)


def test_maximum_likelihood_weighs_by_likelihood_ratio():
    logits = torch.tensor([-3.0, 0.0, 2.0], dtype=torch.float64)
    assert_close(MaximumLikelihood().generator(logits), -logits.exp().mean())
    assert_close(gradient(MaximumLikelihood().generator, logits), -logits.exp() / 3)


def test_maximum_likelihood_is_smooth_at_its_ceiling():
    objective = MaximumLikelihood(ceiling=3.0)
    near = torch.tensor([3 - 1e-6, 3 + 1e-6], dtype=torch.float64)
    assert_close(objective.as_fooling(near), torch.full((2,), -math.exp(3), dtype=torch.float64), rtol=1e-5, atol=0)
    slopes = gradient(lambda x: objective.as_fooling(x).sum(), torch.tensor([3 - 1e-6, 3 + 1e-6, 9.0]))
    assert_close(slopes, torch.full((3,), -math.exp(3)), rtol=1e-5, atol=0)


@kinds
def test_generator_wants_higher_logits(objective):
    logits = torch.tensor([-2.0, -0.5, 0.0, 0.7])
    assert (gradient(objective.generator, logits) < 0).all()


@kinds
def test_discriminator_wants_real_up_and_fake_down(objective):
    logits = torch.tensor([0.1, 0.3, 0.7])  # inside the margins of hinge and least squares
    assert (gradient(objective.real, logits) < 0).all()
    assert (gradient(objective.fake, logits) > 0).all()


def test_minimax_saturates_where_non_saturating_does_not():
    lost = torch.tensor([-30.0])
    assert gradient(Minimax().generator, lost).abs() < 1e-12
    assert_close(gradient(NonSaturating().generator, lost), torch.tensor([-1.0]))


@kinds
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_huge_logits(objective, dtype):
    logits = torch.tensor([-1e4, -200.0, -1.0, 0.0, 1.0, 200.0, 1e4]).to(dtype)
    target = torch.full((7,), 0.5)
    halves = (objective.real, objective.fake, objective.generator)
    for loss in (*halves, lambda x: objective.real(x, target), lambda x: objective.fake(x, target)):
        value = loss(logits)
        assert value.dtype == torch.float32
        assert value.isfinite()
        assert gradient(loss, logits.float()).isfinite().all()


def test_huge_logits_exactly():
    """The cross-entropy there is linear: a sigmoid followed by a logarithm would give infinity, or a zero gradient."""
    far = torch.tensor([1e4, -1e4])
    for objective in LOGISTIC:
        assert_close(torch.stack([objective.real(x) for x in far]), torch.tensor([0.0, 1e4]))
        assert_close(torch.stack([objective.fake(x) for x in far]), torch.tensor([1e4, 0.0]))
        assert_close(gradient(objective.real, far), torch.tensor([0.0, -0.5]))
        assert_close(gradient(objective.fake, far), torch.tensor([0.5, 0.0]))


@kinds
def test_low_precision_logits_are_averaged_in_float32(objective):
    logits = (torch.rand(4096) * 0.5 + 0.25).bfloat16()
    assert_close(objective.real(logits), objective.real(logits.float()), rtol=0, atol=0)
    assert objective.discriminator(logits.double(), logits.double()).dtype == torch.float64


@kinds
def test_hard_targets_change_nothing(objective):
    logits = torch.randn(6, 1, 2, 2)
    assert_close(objective.real(logits, torch.ones(6)), objective.real(logits))
    assert_close(objective.fake(logits, torch.zeros(6)), objective.fake(logits))


@kinds
def test_flipped_targets_swap_the_halves(objective):
    logits = torch.randn(6, 1, 2, 2)
    flip = torch.tensor([1.0, 1, 0, 0, 0, 0])
    expected = (objective.real(logits[:2]) * 2 + objective.fake(logits[2:]) * 4) / 6
    assert_close(objective.fake(logits, flip), expected)
    assert_close(objective.real(logits, flip), expected)


def test_soft_targets():
    logits = torch.tensor([[0.3], [-1.2]])
    target = torch.tensor([0.9, 0.4])
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, target[:, None])
    assert_close(NonSaturating().real(logits, target), cross_entropy)
    squares = ((0.3 - 0.9) ** 2 + (-1.2 - 0.4) ** 2) / 2
    assert_close(LeastSquares().real(logits, target).item(), squares)
    # with one-sided smoothing the optimal logit of samples that are all real is finite: logit(0.9)
    best = torch.tensor([math.log(9)])
    slope = gradient(lambda x: Minimax().real(x, torch.tensor([0.9])), best)
    assert_close(slope, torch.zeros(1), atol=1e-6, rtol=0)


def test_each_sample_has_its_own_target():
    """[N] beside [N, 1, h, w]: never along the width."""
    logits = torch.zeros(2, 1, 2, 2)
    logits[1] = 1
    assert LeastSquares().real(logits, torch.tensor([0.0, 1.0])) == 0


def test_energies_by_hand():
    """EBGAN: real samples get no energy, fakes at least the margin, which is 10 here; low is real."""
    real, fake = torch.tensor([0.0, 3.0]), torch.tensor([4.0, 12.0])
    assert_close(Energy().discriminator(real, fake), torch.tensor((0 + 3) / 2 + (6 + 0) / 2))
    assert_close(Energy().generator(fake), torch.tensor(8.0))
    assert_close(gradient(Energy().fake, fake), torch.tensor([-0.5, 0.0]))


def test_energies_need_an_autoencoder():
    from translate.recipes.pix2pix import Pix2PixConfig

    with pytest.raises(ValidationError, match=r"discriminator: \{kind: autoencoder\}"):
        Pix2PixConfig.model_validate({"objective": {"kind": "energy"}})


def test_read_from_a_config():
    adapter = TypeAdapter(Objective)
    for objective in [*ALL, Energy()]:
        assert adapter.validate_python({"kind": objective.kind}) == objective
    with pytest.raises(ValidationError, match="energetic"):
        adapter.validate_python({"kind": "energetic"})
