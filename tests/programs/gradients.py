"""Averages, over two processes, the gradients of both losses; each process has one category.

    gradients.py FILE    # writes FILE.0 and FILE.1: gradients of the critic and of the generator

FILE: weights of both networks, and z and real images of category 0, then those of category 1.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
import sft
from common import Critic, Generator


def main():
    torch.distributed.init_process_group("gloo")
    state = torch.load(sys.argv[1], weights_only=True)
    generator = Generator(3, 1, latent_dim=8, width=4).double()
    generator.load_state_dict(state["generator"])
    critic = Critic(3, 1, width=4).double()
    critic.load_state_dict(state["critic"])
    z = state["z"].chunk(2)[sft.RANK]
    real = state["real"].chunk(2)[sft.RANK]
    y = torch.tensor([sft.RANK])

    # As the scripts do: after every backward pass
    fake = generator(z, y)
    sft.critic_loss(critic, real, fake.detach(), y, 1.0).backward()
    sft.average([weight.grad for weight in critic.parameters()])
    of_critic = [weight.grad.clone() for weight in critic.parameters()]
    sft.generator_loss(critic, fake, y, 1.0).backward()
    sft.average([weight.grad for weight in generator.parameters()])
    of_generator = [weight.grad for weight in generator.parameters()]
    torch.save([of_critic, of_generator], f"{sys.argv[1]}.{sft.RANK}")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
