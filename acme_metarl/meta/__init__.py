"""Meta-learning: adaptation, meta-gradients, outer updates; knows no agent."""
