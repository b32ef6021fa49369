"""BatchNorm folded into the convolutions before it: what serves needs no statistics.

At inference BatchNorm is y = g·(x - μ)/√(σ² + ε) + b with fixed numbers, which a convolution can do
itself: its weights times g/√(σ² + ε), and a bias (Jacob et al. 2018, arXiv 1712.05877, eq. 14).
"""

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.resnet import ResNet


def fold(network: ResNet) -> ResNet:
    """Return a copy of a network in which no BatchNorm is left, the same but for rounding.

    Args:
        network: in evaluation mode, in float32; stays as it is.
    """
    folded = copy.deepcopy(network).requires_grad_(False)
    for module in folded.modules():
        if isinstance(module, nn.Sequential) and len(module) == 2:
            convolution, norm = module
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                module[0] = fuse_conv_bn_eval(convolution, norm)
                del module[1]
    return folded
