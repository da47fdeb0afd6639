"""Agents in the style of DeepMind Acme."""

from acme_metarl import import_order

# Acme and Reverb load TensorFlow.
import_order.install()
