"""The Launchpad program behind `train_distributed`; see docs/distributed.md."""
