"""A small residual CNN, whose three modules show the three ways to build an nn.Sequential."""

from collections import OrderedDict

from torch import Tensor, nn

from facecls.config.schema import ModelConfig
from facecls.models.resnet import BasicBlock, initialise


class Cnn(nn.Module):
    """Normalised (B, 3, S, S) -> (B, 128), any S from 16 pixels.

    As in the article, nn.Sequential is built from arguments (numbered names), from an OrderedDict (chosen names) and by
    add_module (for conditions and loops): stem, middle and tail, in this order.
    """

    features = 128

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
        )
        self.middle = nn.Sequential(
            OrderedDict(
                widen=BasicBlock(32, 64, stride=2),
                residual=BasicBlock(64, 64),
            )
        )
        self.tail = nn.Sequential()
        self.tail.add_module("widen", BasicBlock(64, 128, stride=2))
        self.tail.add_module("pool", nn.AdaptiveAvgPool2d(1))
        self.tail.add_module("flatten", nn.Flatten())
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.stem(images)  # (B, 32, S/2, S/2)
        maps = self.middle(maps)  # (B, 64, S/4, S/4)
        features: Tensor = self.tail(maps)
        return features

    def stages(self) -> list[nn.Module]:
        """The modules with weights, from the input side."""
        return [self.stem, self.middle, self.tail]


def cnn(_model: ModelConfig, _image_size: int) -> Cnn:
    """Small residual CNN."""
    return Cnn()
