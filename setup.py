"""The package; settings of the tools are in pyproject.toml."""

import pathlib
import re

import setuptools

_ROOT = pathlib.Path(__file__).parent
_INIT = (_ROOT / 'acme_metarl' / '__init__.py').read_text(encoding='utf-8')

# What the library, the pure-JAX environments, on-device training and the
# figures need: no TensorFlow, Acme, Reverb, Launchpad or MuJoCo. A test
# installs the lowest versions and imports everything with them.
_CORE = [
  'absl-py>=2.1',
  'chex>=0.1.90',
  'cloudpickle>=3.0',
  'distrax>=0.1.5',
  'dm-env>=1.6',
  'dm-haiku>=0.0.14',
  'jax>=0.6.2',
  'matplotlib>=3.8',
  'numpy>=1.26',
  'optax>=0.2.4',
  'psutil>=5.9',
  'scipy>=1.12',
  'tensorboardX>=2.6',
  'tqdm>=4.66',
]
# MJX has its several implementations since 3.3.4.
_MUJOCO = [
  'gymnasium>=1.0',
  'imageio[ffmpeg]>=2.34',
  'mujoco>=3.3.4',
  'mujoco-mjx>=3.3.4',
]
# Python 3.10: the last wheels of Reverb and Launchpad, TensorFlow 2.8. (Acme's
# last release asks for this Launchpad and no other one.)
_AGENT = [
  'chex==0.1.90',
  'distrax==0.1.5',
  'dm-acme==0.4.0',
  'dm-haiku==0.0.17',
  'dm-launchpad==0.5.0',
  'dm-reverb==0.7.2',
  'dm-sonnet==2.0.2',
  'dm-tree==0.1.10',
  'gym==0.26.2',
  'jax==0.6.2',
  'numpy<2',
  'optax==0.2.8',
  'protobuf<3.20',
  'rlax==0.1.7',
  'tensorflow-cpu==2.8.4',
  'tensorflow-probability==0.25.0',
]
# Newer: the last Acme that can be installed without Launchpad; replay is a
# queue inside the process.
_CURRENT_AGENT = [
  'distrax==0.1.9',
  'dm-acme==0.2.4',
  'dm-tree>=0.1.10',
  'tfp-nightly==0.26.0.dev20261027',
]
_DEV = [
  'build>=1.2',
  'flax>=0.10',
  'hypothesis>=6.100',
  'mypy==2.4.1',
  'pillow>=10.0',
  'portpicker>=1.6',
  'pytest>=8.0',
  'pytest-xdist>=3.5',
  'rlax>=0.1.7',
  'ruff==0.17.5',
  # Older Pythons bring it along.
  'setuptools>=68; python_version >= "3.12"',
  'uv>=0.9',
]
# What `make docs` builds the pages with; Python 3.12 or newer.
_DOCS = [
  'furo>=2025.9',
  'math-core>=0.9',
  'myst-nb>=1.3',
  'sphinx>=9.0',
  'sphinx-copybutton>=0.5.2',
]

setuptools.setup(
  name='acme-metarl',
  version=re.search(r"__version__ = '(.+)'", _INIT).group(1),
  description=(
    'Meta-reinforcement learning with right gradients: off-policy evaluators'
    ' as losses, and a MAML agent for Acme.'
  ),
  long_description=(_ROOT / 'README.md').read_text(encoding='utf-8'),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  license_files=['LICENSE'],
  python_requires='>=3.10',
  # agents/, environments/ and launchers/ are found through the links inside
  # acme_metarl/, so every module is packed once, under one name.
  packages=setuptools.find_packages(include=['acme_metarl', 'acme_metarl.*']),
  package_data={
    'acme_metarl': ['py.typed'],
    'acme_metarl.agents.maml': ['*.md'],
    'acme_metarl.launchers.runs': ['html_page.*'],
    'acme_metarl.agents.self_tuning': ['*.md'],
  },
  install_requires=_CORE,
  entry_points={
    'console_scripts': ['acme-metarl = acme_metarl.launchers.__main__:main'],
  },
  extras_require={
    'mujoco': _MUJOCO,
    # What each is pinned to, with hashes: requirements/.
    'agent': [
      *(f"{x}; python_version < '3.11'" for x in _AGENT),
      *(f"{x}; python_version >= '3.11'" for x in _CURRENT_AGENT),
      *_MUJOCO,
    ],
    # What `train_distributed` runs on where there is no Launchpad.
    'ray': ['ray>=2.60'],
    'dev': _DEV,
    'docs': _DOCS,
    'cuda': ['jax[cuda12]'],
    'tpu': ['jax[tpu]'],
    # Games for agents that tune themselves. gymnax wants an older Gymnasium
    # than the other extras may install; ale-py is GPL-2.0-only.
    'self_tuning': ['gymnax>=1.0.1', 'gymnasium>=1.1,<1.4'],
    'jumanji': ['jumanji>=1.1'],
    'atari': ['ale-py>=0.12', 'pillow>=10.0'],
    # Other people's environments. Meta-World wants MuJoCo 3.3.0, so it goes
    # with no other extra: requirements/metaworld.txt, make .venv-metaworld.
    'metaworld': [
      'imageio[ffmpeg]>=2.34',
      'metaworld==3.1.1',
      *_CURRENT_AGENT,
    ],
    'dm_control': ['dm_control>=1.0.20'],
    'suites': ['brax>=0.14', 'gymnax>=1.0.1', 'playground>=0.2'],
    # MJX on GPUs by Warp, see docs/mjx.md.
    'warp': ['warp-lang>=1.9'],
  },
  classifiers=[
    'License :: OSI Approved :: Apache Software License',
    'Programming Language :: Python :: 3.10',
    'Programming Language :: Python :: 3.11',
    'Programming Language :: Python :: 3.12',
    'Programming Language :: Python :: 3.13',
    'Topic :: Scientific/Engineering :: Artificial Intelligence',
  ],
)
