"""joint.py with the batch norm of the authors' joint training: one for the whole mixed batch.

    python benchmark/joint_mixed.py --num-tasks 10 --run-dir runs/mixed    # joint.py's options
    python eval.py runs/mixed --statistics standing

joint.py normalises every category by itself. Here all categories of a batch are normalised
together, each with a scale and a shift of its own. eval.py draws one category at a time, so it
needs standing statistics: those of a mixed batch, the same for every category.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import common  # noqa: E402
import joint  # noqa: E402


class MixedBatchNorm2d(common.ConditionalBatchNorm2d):
    """Normalises a batch of several categories together; shapes as in its base class."""

    def forward(self, x, y):
        if not self.training:
            return super().forward(x, y)
        if self.record:
            var, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
            self.standing_var.copy_(var.expand_as(self.standing_var))
            self.standing_mean.copy_(mean.expand_as(self.standing_mean))
        images_of_each = len(x) // len(y)
        rows = y.repeat_interleave(images_of_each)
        scale = F.embedding(rows, self.scale.expand_as(self.standing_mean))
        shift = F.embedding(rows, self.shift.expand_as(self.standing_mean))
        x = F.batch_norm(x, None, None, training=True, eps=self.eps)
        return x * scale[:, :, None, None] + shift[:, :, None, None]


@torch.no_grad()
def update_standing_statistics(generator, categories, num_samples=None, seed=0):
    """Measure every layer's statistics once, of all the categories together."""
    weight = generator.linear.weight
    count = num_samples or generator.num_standing
    count -= count % len(categories)
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(count, generator.config["latent_dim"], generator=random)
    norms = [module for module in generator.modules() if isinstance(module, MixedBatchNorm2d)]
    for norm in norms:
        norm.record = True
    generator(z.to(weight.device), torch.as_tensor(categories, device=weight.device))
    for norm in norms:
        norm.record = False


def main():
    joint.METHOD = Path(__file__).stem
    common.ConditionalBatchNorm2d = MixedBatchNorm2d
    common.Generator.update_standing_statistics = update_standing_statistics
    joint.main()


if __name__ == "__main__":
    main()
