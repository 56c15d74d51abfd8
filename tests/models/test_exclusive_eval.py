import gc
import threading
import weakref

import pytest
from torch import nn

from napari_cam_sam.models.classify.small_cnn import SmallCNN
from napari_cam_sam.models.exclusive_eval import borrowed, module_lock


def test_borrowed_restores_a_mixed_state_also_after_an_error() -> None:
    model = SmallCNN(num_classes=2).train()
    model.stage2.eval()
    model.stem[0].weight.requires_grad_(False)
    training = [m.training for m in model.modules()]
    required = [p.requires_grad for p in model.parameters()]
    inside = []

    def use() -> None:
        with borrowed(model):
            inside.extend(m.training for m in model.modules())
            inside.extend(p.requires_grad for p in model.parameters())
            raise KeyError("inside")

    with pytest.raises(KeyError):
        use()
    assert not any(inside)
    assert [m.training for m in model.modules()] == training
    assert [p.requires_grad for p in model.parameters()] == required


def test_one_lock_a_module_that_dies_with_it() -> None:
    first, second = nn.ReLU(), nn.ReLU()
    assert module_lock(first) is module_lock(first)
    assert module_lock(first) is not module_lock(second)
    lock = weakref.ref(module_lock(first))
    del first
    gc.collect()
    assert lock() is None


def test_a_borrowed_module_makes_others_wait() -> None:
    module, entered = nn.ReLU(), threading.Event()

    def other() -> None:
        with borrowed(module):
            entered.set()

    thread = threading.Thread(target=other)
    with borrowed(module):
        thread.start()
        assert not entered.wait(0.1)
    thread.join(5)
    assert entered.is_set()
