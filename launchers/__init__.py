"""Runnable experiments: `python -m acme_metarl.launchers.NAME`."""
