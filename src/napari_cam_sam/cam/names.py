"""The heatmap methods by name, known before PyTorch is loaded."""

from __future__ import annotations

__all__ = ["MANY_PASSES", "METHOD_NAMES", "WITHOUT_LAYERS"]

METHOD_NAMES: dict[str, str] = {
    "grad-cam": "Channels weighted by their mean gradient: the classic, coarse and smooth.",
    "grad-cam++": "Grad-CAM with weights for several objects of one class.",
    "xgrad-cam": "Grad-CAM with weights that satisfy two axioms of attribution.",
    "hires-cam": "Gradient times activation, cell by cell: shows only what the model used.",
    "layer-cam": "Positive gradients cell by cell: fine maps, also of early layers.",
    "element-wise": "Positive part of gradient times activation, cell by cell.",
    "finer-cam": "What speaks for the class against the classes most like it.",
    "shapley-cam": "Weights from gradients and second derivatives.",
    "eigen-cam": "First component of the activations: no class, but robust.",
    "eigen-grad-cam": "First component of gradient times activation.",
    "seg-eigen-cam": "Eigen-Grad-CAM with absolute gradients and a corrected sign.",
    "kpca-cam": "Eigen-CAM with a kernel.",
    "fem": "Activations that are rare for their channel: no class.",
    "score-cam": "Channels weighted by the score that they keep: many passes, slow.",
    "ablation-cam": "Channels weighted by the score that is lost without them: slow.",
    "full-grad": "Gradients of all biases together: no target layer.",
    "guided-grad-cam": "Grad-CAM times guided backpropagation: fine edges, for ReLU models.",
    "lrp": "Relevance handed back layer by layer, for ResNet, VGG and the like: fine.",
    "occlusion": "What the score loses where the image is covered: any model, many passes.",
}
"""Name to one line on what it does; ``cam.methods.METHODS`` holds how."""

WITHOUT_LAYERS = frozenset({"full-grad", "lrp", "occlusion"})
"""Methods to which target layers do not matter."""

MANY_PASSES = frozenset({"score-cam", "ablation-cam", "occlusion"})
"""Methods that run the model hundreds of times for a plane."""
