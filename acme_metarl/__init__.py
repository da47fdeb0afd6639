"""Meta-reinforcement learning whose gradients are right."""
