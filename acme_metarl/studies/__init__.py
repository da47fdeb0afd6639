"""What the launchers of studies compute; no API, and the core imports none."""

from acme_metarl import import_order

import_order.install()
