import warnings

import numpy as np
import pytest
import torch
import torchvision
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from translate.errors import EvaluationError
from translate.evaluation import PAIRED, label_scores, lpips, ms_ssim, paired_metrics
from translate.evaluation.paired import confusion, scores

PALETTE = [(0, 0, 0), (255, 0, 0), (0, 255, 0)]


def images(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_pixels_by_hand():
    output, truth = torch.zeros(2, 3, 16, 16), torch.zeros(2, 3, 16, 16)
    output[1] = 0.2
    found = paired_metrics(output, truth)
    assert found.keys() == PAIRED.keys()
    assert found["l1"].tolist() == pytest.approx([0, 0.1])
    assert found["psnr"].tolist() == pytest.approx([100, 20])
    # two flat images: (2·½·0.6 + 0.01²)/(½² + 0.6² + 0.01²)
    assert found["ssim"].tolist() == pytest.approx([1, 0.6001 / 0.6101], rel=1e-4)
    assert paired_metrics(output[..., :10], truth[..., :10])["ssim"].isnan().all()


def test_ms_ssim():
    truth = images(0, 3, 3, 176, 176)
    output = (truth + torch.tensor([0, 0.1, 0.6])[:, None, None, None] * images(1, 3, 3, 176, 176)).clamp(-1, 1)
    found = ms_ssim(output, truth)
    assert found[0] == pytest.approx(1)
    assert 1 > found[1] > found[2] > 0
    theirs = multiscale_structural_similarity_index_measure((output + 1) / 2, (truth + 1) / 2, data_range=1.0)
    assert found.mean() == pytest.approx(theirs)
    assert ms_ssim(output[2:], truth[2:]) == pytest.approx(found[2:], abs=1e-5)
    assert ms_ssim(truth[..., :160], truth[..., :160]).isnan().all()


@pytest.fixture
def quick(monkeypatch):
    """No initial values for the layers that LPIPS throws away."""
    for name in ("normal_", "kaiming_uniform_", "kaiming_normal_"):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_equals_the_published_package(net, tmp_path, request):
    torch.manual_seed(0)
    vgg = torchvision.models.vgg
    backbone = vgg.make_layers(vgg.cfgs["D"]) if net == "vgg" else torchvision.models.alexnet(weights=None).features
    request.getfixturevalue("quick")
    torch.save({f"features.{name}": value for name, value in backbone.state_dict().items()}, tmp_path / "net.pth")
    output, truth = images(0, 2, 3, 64, 64), images(1, 2, 3, 64, 64)
    found = lpips(net, tmp_path / "net.pth")(output, truth)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lpips import LPIPS

        published = LPIPS(net=net, pnet_rand=True, verbose=False)
    places = {name.split(".", 1)[1]: name for name in published.net.state_dict()}
    published.net.load_state_dict({places[name]: backbone.state_dict()[name] for name in places})
    assert found.tolist() == pytest.approx(published(output, truth).flatten().tolist(), rel=1e-5)
    assert (found > 0).all()
    distance = lpips(net, tmp_path / "net.pth")
    assert distance(output, output).tolist() == [0, 0]
    grey = output[:, :1]
    assert distance(grey, truth).tolist() == distance(grey.repeat(1, 3, 1, 1), truth).tolist()


def test_lpips_without_weights(tmp_path, monkeypatch, quick):
    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.models.AlexNet_Weights, "get_state_dict", offline)
    with pytest.raises(EvaluationError, match=r"no weights of alex from torchvision \(no route to host\); give a file"):
        lpips()
    with pytest.raises(EvaluationError, match=r"from .*missing\.pth"):
        lpips(weights=tmp_path / "missing.pth")
    (tmp_path / "text.pth").write_text("nothing")
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    for name in ("text.pth", "other.pth"):
        with pytest.raises(EvaluationError, match="LPIPS: no weights"):
            lpips(weights=tmp_path / name)


def map_of(*rows):
    """Label maps from classes [N][H][W]."""
    return torch.tensor(PALETTE)[torch.tensor(rows)].permute(0, 3, 1, 2) / 127.5 - 1


def test_label_scores_by_hand():
    truth = map_of([[0, 0, 0, 1]], [[1, 1, 1, 1]])
    output = map_of([[0, 0, 1, 1]], [[1, 1, 1, 0]])
    # true 0: 2 right of 3; true 1: 4 right of 5
    found = label_scores(output + 0.1, truth, PALETTE)
    assert found[:3] == pytest.approx((6 / 8, (2 / 3 + 4 / 5) / 2, (2 / 4 + 4 / 6) / 2))
    assert found.accuracies == pytest.approx([2 / 3, 4 / 5, np.nan], nan_ok=True)
    assert label_scores(truth, truth, PALETTE)[:3] == (1, 1, 1)
    each = confusion(output, truth, PALETTE)
    assert each.shape == (2, 3, 3)
    assert each[0].tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert scores(each.sum(0))[:3] == label_scores(output, truth, PALETTE)[:3]


def test_void_pixels_do_not_count():
    truth, output = map_of([[0, 0, 1, 2, 2]]), map_of([[0, 1, 1, 0, 2]])
    found = label_scores(output, truth, PALETTE, void=2)
    assert found[:3] == pytest.approx((2 / 3, (1 / 2 + 1) / 2, (1 / 2 + 1 / 2) / 2))
    assert np.isnan(found.accuracies[2])
    assert np.isnan(found.ious[2])
