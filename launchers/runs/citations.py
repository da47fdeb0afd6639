"""Which papers to cite for a preset, as BibTeX."""

from typing import NamedTuple

from acme_metarl import presets


class Paper(NamedTuple):
  """A paper.

  Attributes:
    authors: as BibTeX has them.
    title: of the paper.
    year: of its publication.
    where: journal, conference, or an arXiv number.
    url: where it can be read.
  """

  authors: str
  title: str
  year: int
  where: str
  url: str

  def bibtex(self, key: str) -> str:
    """The entry of a bibliography."""
    fields = {
      'author': self.authors,
      'title': f'{{{self.title}}}',
      'year': str(self.year),
      'howpublished': self.where,
      'url': self.url,
    }
    lines = ',\n'.join(f'  {k} = {{{v}}}' for k, v in fields.items())
    return f'@misc{{{key},\n{lines}\n}}'


def _arxiv(number: str) -> str:
  return f'https://arxiv.org/abs/{number}'


PAPERS = {
  'finn2017maml': Paper(
    'Finn, Chelsea and Abbeel, Pieter and Levine, Sergey',
    'Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks',
    2017,
    'ICML',
    _arxiv('1703.03400'),
  ),
  'schulman2015trpo': Paper(
    'Schulman, John and Levine, Sergey and Moritz, Philipp and Jordan, Michael'
    ' and Abbeel, Pieter',
    'Trust Region Policy Optimization',
    2015,
    'ICML',
    _arxiv('1502.05477'),
  ),
  'alshedivat2018continuous': Paper(
    'Al-Shedivat, Maruan and Bansal, Trapit and Burda, Yuri and Sutskever, Ilya'
    ' and Mordatch, Igor and Abbeel, Pieter',
    'Continuous Adaptation via Meta-Learning in Nonstationary and Competitive'
    ' Environments',
    2018,
    'ICLR',
    _arxiv('1710.03641'),
  ),
  'stadie2018considerations': Paper(
    'Stadie, Bradly and Yang, Ge and Houthooft, Rein and Chen, Xi and Duan, Yan'
    ' and Wu, Yuhuai and Abbeel, Pieter and Sutskever, Ilya',
    'Some Considerations on Learning to Explore via Meta-Reinforcement'
    ' Learning',
    2018,
    'NeurIPS',
    _arxiv('1803.01118'),
  ),
  'foerster2018dice': Paper(
    'Foerster, Jakob and Farquhar, Gregory and Al-Shedivat, Maruan and'
    r' Rockt{\"a}schel, Tim and Xing, Eric and Whiteson, Shimon',
    'DiCE: The Infinitely Differentiable Monte-Carlo Estimator',
    2018,
    'ICML',
    _arxiv('1802.05098'),
  ),
  'farquhar2019loaded': Paper(
    'Farquhar, Gregory and Whiteson, Shimon and Foerster, Jakob',
    'Loaded DiCE: Trading off Bias and Variance in Any-Order Score Function'
    ' Gradient Estimators for Reinforcement Learning',
    2019,
    'NeurIPS',
    _arxiv('1909.10549'),
  ),
  'rothfuss2019promp': Paper(
    'Rothfuss, Jonas and Lee, Dennis and Clavera, Ignasi and Asfour, Tamim and'
    ' Abbeel, Pieter',
    'ProMP: Proximal Meta-Policy Search',
    2019,
    'ICLR',
    _arxiv('1810.06784'),
  ),
  'tang2020taylor': Paper(
    r'Tang, Yunhao and Valko, Michal and Munos, R{\'e}mi',
    'Taylor Expansion Policy Optimization',
    2020,
    'ICML',
    _arxiv('2003.06259'),
  ),
  'tang2021unifying': Paper(
    'Tang, Yunhao and Kozuno, Tadashi and Rowland, Mark and Munos,'
    r' R{\'e}mi and Valko, Michal',
    'Unifying Gradient Estimators for Meta-Reinforcement Learning via'
    ' Off-Policy Evaluation',
    2021,
    'NeurIPS',
    _arxiv('2106.13125'),
  ),
  'li2017metasgd': Paper(
    'Li, Zhenguo and Zhou, Fengwei and Chen, Fei and Li, Hang',
    'Meta-SGD: Learning to Learn Quickly for Few-Shot Learning',
    2017,
    'arXiv:1707.09835',
    _arxiv('1707.09835'),
  ),
  'nichol2018reptile': Paper(
    'Nichol, Alex and Achiam, Joshua and Schulman, John',
    'On First-Order Meta-Learning Algorithms',
    2018,
    'arXiv:1803.02999',
    _arxiv('1803.02999'),
  ),
  'song2020esmaml': Paper(
    'Song, Xingyou and Gao, Wenbo and Yang, Yuxiang and Choromanski, Krzysztof'
    ' and Pacchiano, Aldo and Tang, Yunhao',
    'ES-MAML: Simple Hessian-Free Meta Learning',
    2020,
    'ICLR',
    _arxiv('1910.01215'),
  ),
}
_MAML, _TRPO = 'finn2017maml', 'schulman2015trpo'
_PROMP = 'rothfuss2019promp'
_TAYPO = ('tang2021unifying', 'tang2020taylor')
_OF_PRESETS = {
  'trpo_maml': (_MAML, _TRPO),
  'trpo_fmaml': (_MAML, _TRPO),
  'trpo_emaml': ('stadie2018considerations', 'alshedivat2018continuous', _TRPO),
  'trpo_dice': ('foerster2018dice', 'farquhar2019loaded', _TRPO),
  'promp': (_PROMP,),
  'promp_taypo2': (*_TAYPO, _PROMP),
  'promp_taypo3': (*_TAYPO, _PROMP),
  'promp_causal': (*_TAYPO, 'farquhar2019loaded', _PROMP),
  'recommended': (*_TAYPO, 'farquhar2019loaded', _PROMP),
  'vpg_maml': (_MAML,),
  'meta_sgd': ('li2017metasgd', _TRPO),
  'reptile': ('nichol2018reptile',),
  'es_maml': ('song2020esmaml',),
}


def of_preset(name: str) -> dict[str, Paper]:
  """The papers that describe a preset, by their keys.

  Raises:
    ValueError: if there is no such preset.
  """
  if name not in presets.names():
    raise ValueError(
      f'algorithm: there is no preset {name!r}; there are'
      f' {", ".join(presets.names())}.'
    )
  # All are instances of MAML.
  keys = dict.fromkeys((*_OF_PRESETS.get(name, ()), _MAML))
  return {key: PAPERS[key] for key in keys}
