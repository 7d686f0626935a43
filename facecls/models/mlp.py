"""The article's networks without convolutions: a linear layer on pixels, and a 784-300-10-style MLP with batch norm.

The last layer of each is the head, so the backbone of `linear` has no weights. Both take only images of the size that they
are built for.
"""

from torch import Tensor, nn

from facecls.config.schema import ModelConfig

HIDDEN = 300


class Flat(nn.Module):
    """Pixels as features: (B, 3, S, S) -> (B, 3 * S * S)."""

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.fixed_size = image_size
        self.features = 3 * image_size * image_size

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


class Mlp(nn.Module):
    """One hidden layer with batch norm: (B, 3, S, S) -> (B, 300)."""

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.fixed_size = image_size
        self.features = HIDDEN
        self.hidden = nn.Linear(3 * image_size * image_size, HIDDEN, bias=False)  # the norm after it has a bias
        self.norm = nn.BatchNorm1d(HIDDEN)
        self.relu = nn.ReLU(inplace=True)
        nn.init.kaiming_normal_(self.hidden.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.relu(self.norm(self.hidden(images.flatten(1))))
        return features

    def stages(self) -> list[nn.Module]:
        """The modules with weights, from the input side: one."""
        return [nn.Sequential(self.hidden, self.norm)]


def linear(_model: ModelConfig, image_size: int) -> Flat:
    """Linear layer on pixels."""
    return Flat(image_size)


def mlp(_model: ModelConfig, image_size: int) -> Mlp:
    """MLP with one hidden layer."""
    return Mlp(image_size)
