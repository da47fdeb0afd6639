"""What the README shows works as shown."""

import pathlib
import re

import numpy as np

_README = pathlib.Path(__file__).parent.parent / 'README.md'


def test_example_runs_and_is_short(capsys):
  (code,) = re.findall(r'```python\n(.*?)```', _README.read_text(), re.DOTALL)
  assert len([line for line in code.splitlines() if line.strip()]) <= 15
  namespace = {}
  exec(compile(code, str(_README), 'exec'), namespace)
  capsys.readouterr()
  hessian = namespace['jax'].hessian(namespace['estimate'])(
    namespace['jnp'].zeros(2)
  )
  np.testing.assert_allclose(hessian, hessian.T, atol=1e-6)
  assert np.abs(hessian).max() > 0.01
