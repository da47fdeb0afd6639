"""Meta-reinforcement learning whose gradients are right."""

from acme_metarl import import_order

import_order.install()

__version__ = '0.1.0'
