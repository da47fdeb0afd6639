"""Agents in the style of DeepMind Acme."""
