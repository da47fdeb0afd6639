"""Runnable experiments: `python -m acme_metarl.launchers.NAME`."""

from acme_metarl import import_order

# Some import Acme's modules and distrax themselves, in any order.
import_order.install()
