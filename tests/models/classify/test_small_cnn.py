import pytest
import torch

from napari_cam_sam.models.classify.small_cnn import GeneralisedMean, SmallCNN


@pytest.mark.parametrize("channels", [1, 3])
def test_grids_logits_and_size(channels: int) -> None:
    model = SmallCNN(num_classes=5, in_channels=channels).eval()
    shapes = {}
    for name in ("stage1", "stage2", "stage3", "stage4"):
        getattr(model, name).register_forward_hook(
            lambda _m, _i, out, name=name: shapes.update({name: tuple(out.shape[1:])})
        )
    with torch.no_grad():
        logits = model(torch.zeros(2, channels, 128, 128))
    assert logits.shape == (2, 5)
    assert shapes == {
        "stage1": (32, 64, 64),
        "stage2": (64, 32, 32),
        "stage3": (128, 16, 16),
        "stage4": (192, 16, 16),
    }
    assert 300_000 < sum(p.numel() for p in model.parameters()) < 700_000


def test_smallest_input_runs_and_gradients_reach_the_stem() -> None:
    model = SmallCNN(num_classes=2)
    model(torch.rand(4, 1, 16, 16)).sum().backward()
    assert model.stem[0].weight.grad.abs().sum() > 0


def test_generalised_mean_between_mean_and_maximum() -> None:
    x = torch.rand(3, 4, 5, 6)
    torch.testing.assert_close(GeneralisedMean(1.0)(x), x.mean((2, 3)))
    torch.testing.assert_close(GeneralisedMean(2.0)(x), x.square().mean((2, 3)).sqrt())
    torch.testing.assert_close(GeneralisedMean(200.0)(x), x.amax((2, 3)), rtol=0.03, atol=0)
    empty = torch.zeros(1, 2, 3, 3, requires_grad=True)
    GeneralisedMean(4.0)(empty).sum().backward()
    assert empty.grad is not None
    assert empty.grad.isfinite().all()


def test_the_exponent_travels_with_the_weights() -> None:
    trained, loaded = SmallCNN(2, exponent=4.0), SmallCNN(2)
    loaded.load_state_dict(trained.state_dict())
    assert float(loaded.pool.p) == 4.0
