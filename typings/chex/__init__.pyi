"""chex as the type checker sees it.

chex.Array is a union with NumPy's scalars, which cannot be indexed or
subtracted from each other; the checker would complain wherever an array is
used. In here an array is an array.
"""

from typing import Any, TypeAlias

import jax

Array: TypeAlias = jax.Array
ArrayDevice: TypeAlias = jax.Array
# A number or an array: what may be done with it depends.
Numeric: TypeAlias = Any
Scalar: TypeAlias = Any
PRNGKey: TypeAlias = jax.Array
Shape: TypeAlias = tuple[int, ...]
ArrayTree: TypeAlias = Any
ArrayDType: TypeAlias = Any

def __getattr__(name: str) -> Any: ...
