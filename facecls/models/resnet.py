"""ResNet: He et al. 2015, "Deep Residual Learning for Image Recognition" (arXiv:1512.03385).

Unlike the article that this project starts from, it follows He et al. and torchvision: no biases before batch norm, and an
activation after the stem. Modules are named as in torchvision, so that ImageNet weights can be loaded.
"""

from torch import Tensor, nn

from facecls.config.schema import ModelConfig, Stem


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: (B, in, H, W) -> (B, out, H / stride, W / stride)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, maps: Tensor) -> Tensor:
        shortcut = maps if self.downsample is None else self.downsample(maps)
        maps = self.relu(self.bn1(self.conv1(maps)))
        maps = self.bn2(self.conv2(maps))
        maps += shortcut
        activated: Tensor = self.relu(maps)
        return activated


class ResNet(nn.Module):
    """A stem and four layers of basic blocks: normalised (B, 3, S, S) -> (B, 512), any S from 16 pixels.

    `blocks` is the number of blocks per layer. The `standard` stem (7x7, stride 2, max-pooling) reduces the side to S / 4;
    the `small` stem (3x3, stride 1, no pooling), by He et al. for CIFAR-10's 32-pixel images, keeps S, and the network
    computes about 16 times as much.
    """

    features = 512

    def __init__(self, blocks: tuple[int, int, int, int], stem: Stem = "standard") -> None:
        super().__init__()
        small = stem == "small"
        self.conv1 = nn.Conv2d(3, 64, 3 if small else 7, stride=1 if small else 2, padding=1 if small else 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _layer(64, 64, blocks[0], stride=1)
        self.layer2 = _layer(64, 128, blocks[1], stride=2)
        self.layer3 = _layer(128, 256, blocks[2], stride=2)
        self.layer4 = _layer(256, 512, blocks[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.maxpool(self.relu(self.bn1(self.conv1(images))))  # (B, 64, S/4, S/4)
        maps = self.layer1(maps)
        maps = self.layer2(maps)  # (B, 128, S/8, S/8)
        maps = self.layer3(maps)  # (B, 256, S/16, S/16)
        maps = self.layer4(maps)  # (B, 512, S/32, S/32)
        features: Tensor = self.avgpool(maps).flatten(1)
        return features

    def stages(self) -> list[nn.Module]:
        """The modules with weights, from the input side: the stem, then the four layers."""
        return [nn.Sequential(self.conv1, self.bn1), self.layer1, self.layer2, self.layer3, self.layer4]


def _layer(channels_in: int, channels_out: int, blocks: int, stride: int) -> nn.Sequential:
    more = [BasicBlock(channels_out, channels_out) for _ in range(blocks - 1)]
    return nn.Sequential(BasicBlock(channels_in, channels_out, stride), *more)


def initialise(module: nn.Module) -> None:
    """Kaiming-normal weights by fan-out for every convolution in `module` (He et al. 2015, arXiv:1502.01852)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


def resnet18(model: ModelConfig, _image_size: int) -> ResNet:
    """ResNet-18."""
    return ResNet((2, 2, 2, 2), model.stem)


def resnet34(model: ModelConfig, _image_size: int) -> ResNet:
    """ResNet-34."""
    return ResNet((3, 4, 6, 3), model.stem)
