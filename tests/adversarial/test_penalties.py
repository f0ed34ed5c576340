import pytest
import torch
from torch import nn
from torch.testing import assert_close

from translate.adversarial import R1, GradientPenalty, PenaltyContext


class Linear(nn.Module):
    """<w, x> for each image: its slope is |w| everywhere. Logits [N]."""

    def __init__(self, norm: float) -> None:
        super().__init__()
        direction = torch.randn(3, 4, 4)
        self.weight = nn.Parameter(norm * direction / direction.norm())

    def forward(self, images):
        return (images * self.weight).sum((1, 2, 3))


class Square(nn.Module):
    """k |x|^2 / 2: its slope is k |x|."""

    def __init__(self) -> None:
        super().__init__()
        self.k = nn.Parameter(torch.tensor(2.0))

    def forward(self, images):
        return self.k * images.square().sum((1, 2, 3)) / 2


def meeting(critic, real=None, fake=None):
    real = torch.randn(5, 3, 4, 4) if real is None else real
    fake = torch.randn(5, 3, 4, 4) if fake is None else fake
    return PenaltyContext(critic, real, fake, critic(real), critic(fake))


@pytest.mark.parametrize("at", ["real", "fake"])
def test_published_gradient_penalty(golden, golden_critic, at):
    tensors = golden["tensors"]
    penalty = GradientPenalty(at=at)
    value = penalty.weight * penalty(meeting(golden_critic, tensors["gp_real"], tensors["gp_fake"]))
    assert penalty.weight == golden["gradient_penalty"]["lambda"]
    assert_close(value.item(), golden["gradient_penalty"][f"at_{at}"], rtol=1e-6, atol=0)


@pytest.mark.parametrize("norm", [0.25, 1.0, 3.0])
@pytest.mark.parametrize("at", ["between", "real", "fake"])
def test_linear_critic(norm, at):
    critic = Linear(norm)
    two, one = GradientPenalty(at=at), GradientPenalty(at=at, sided="one")
    assert_close(two(meeting(critic)).item(), (norm - 1) ** 2, atol=1e-6, rtol=1e-5)
    assert_close(one(meeting(critic)).item(), max(norm - 1, 0.0) ** 2, atol=1e-6, rtol=1e-5)
    assert_close(GradientPenalty(target=2.0)(meeting(critic)).item(), (norm - 2) ** 2, atol=1e-6, rtol=1e-5)
    assert_close(R1()(meeting(critic)).item(), norm**2 / 2, atol=1e-6, rtol=1e-5)


def test_gradient_by_the_critics_weights():
    """d/dw (|w| - 1)^2 = 2 (|w| - 1) w / |w|."""
    critic = Linear(3.0)
    GradientPenalty()(meeting(critic)).backward()
    assert_close(critic.weight.grad, 2 * 2 * critic.weight.detach() / 3)
    critic.weight.grad = None
    R1()(meeting(critic)).backward()
    assert_close(critic.weight.grad, critic.weight.detach())


def test_one_sided_penalty_has_no_gradient_below_its_target():
    critic = Linear(0.5)
    GradientPenalty(sided="one")(meeting(critic)).backward()
    assert critic.weight.grad.abs().max() == 0


def test_each_place():
    real, fake = torch.full((2, 3, 4, 4), 1.0), torch.full((2, 3, 4, 4), 2.0)
    critic, size = Square(), 48**0.5
    met = meeting(critic, real, fake)
    at = {place: GradientPenalty(at=place, target=0.0)(met) for place in ("between", "real", "fake")}
    assert_close(at["real"].item(), (2 * size) ** 2, rtol=1e-5, atol=0)
    assert_close(at["fake"].item(), (4 * size) ** 2, rtol=1e-5, atol=0)
    assert at["real"] < at["between"] < at["fake"]
    assert_close(R1()(meeting(critic, real, fake)).item(), (2 * size) ** 2 / 2, rtol=1e-5, atol=0)


def test_points_between_are_uniform_and_one_an_image():
    places = []

    def critic(images):
        places.append(images.detach())
        return images.sum((1, 2, 3))

    n = 4000
    GradientPenalty()(PenaltyContext(critic, torch.zeros(n, 1, 2, 2), torch.ones(n, 1, 2, 2), *torch.zeros(2, n)))
    t = places[0].flatten(1)
    assert torch.equal(t, t[:, :1].expand_as(t))
    assert_close(t.mean().item(), 0.5, atol=0.02, rtol=0)
    assert_close(t[:, 0].std().item(), 12**-0.5, atol=0.02, rtol=0)


def test_slope_zero_has_finite_gradients():
    critic = Linear(1.0)
    with torch.no_grad():
        critic.weight.zero_()
    for penalty in (GradientPenalty(), GradientPenalty(sided="one"), R1()):
        critic.weight.grad = None
        value = penalty(meeting(critic))
        value.backward()
        assert value.isfinite()
        assert critic.weight.grad.isfinite().all()


@pytest.mark.parametrize("penalty", [GradientPenalty(), GradientPenalty(at="real"), R1()])
def test_low_precision_images_are_widened(penalty):
    seen = []

    def critic(images):
        seen.append(images.dtype)
        return images.sum((1, 2, 3))

    real, fake = torch.randn(2, 3, 4, 4).bfloat16(), torch.randn(2, 3, 4, 4).bfloat16()
    value = penalty(PenaltyContext(critic, real, fake, real[:, 0, 0, 0], fake[:, 0, 0, 0]))
    assert seen == [torch.float32]
    assert value.dtype == torch.float32


def test_gradients_of_a_penalty_against_finite_differences(patch):
    critic = patch().double()
    real, fake = torch.randn(2, 3, 8, 8, dtype=torch.float64), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    names = [name for name, _ in critic.named_parameters() if name.endswith("weight")]

    def penalty(*weights):
        torch.manual_seed(3)  # the same points between
        run = lambda x: torch.func.functional_call(critic, dict(zip(names, weights, strict=True)), (x,))  # noqa: E731
        return GradientPenalty()(meeting(run, real, fake)) + R1()(meeting(run, real, fake))

    weights = [critic.get_parameter(name).detach().clone().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(penalty, weights, fast_mode=True)


def test_the_slope_bound_that_wasserstein_needs():
    assert GradientPenalty().lipschitz
    assert GradientPenalty(sided="one").lipschitz
    assert not GradientPenalty(at="real").lipschitz
    assert not R1().lipschitz
