"""Formulas in plain characters become the LaTeX that they mean."""

import pytest

from docs.extensions import formulas


@pytest.mark.parametrize(
  ('text', 'latex'),
  [
    (
      'V̂_t = ρ_t (r_t + γ_t V̂_{t+1})',
      r'\hat{V}_{t} = ρ_{t} (r_{t} + γ_{t} \hat{V}_{t+1})',
    ),
    ('Σ_{k=1..K} W_k(t)', r'\sum_{k=1\ldots K} W_{k}(t)'),
    ('ρ̄_t γ^(T-t) m/σ²', r'\bar{ρ}_{t} γ^{T-t} m/σ^{2}'),
    ('∇_θ log π', r'\nabla _{θ} \operatorname{log} π'),
    ('(I − γP_pi)^-1', r'(I - γP_{\pi})^{-1}'),
    (
      'π(a|x) · stop_gradient(x)',
      r'π(a\mid x) \cdot  \operatorname{stop-gradient}(x)',
    ),
  ],
)
def test_latex_of_a_formula(text, latex):
  assert formulas.to_latex(text) == latex


@pytest.mark.parametrize(
  ('text', 'found'),
  [
    (
      'V̂_t = Ĝ_t + Σ_{k=1..K} W_k(t), with A_t = Ĝ_t − v(x_t) and more.',
      ['V̂_t = Ĝ_t + Σ_{k=1..K} W_k(t)', 'A_t = Ĝ_t − v(x_t)'],
    ),
    (
      'the policy, v(x) = Σ_a π(a|x) q(x, a). A state',
      ['v(x) = Σ_a π(a|x) q(x, a)'],
    ),
    ('it is I − log π (or λ = 1)', ['I − log π', 'λ = 1']),
    ('x_0 …\n x_{T-1}.', ['x_0 …\n x_{T-1}']),
    # Names of Python's, a broken bracket, plain words.
    ('v_tm1 and lambda_ are r_tm1, a I A K', []),
    ('it (V(ρ_t is', []),
  ],
)
def test_formulas_are_found_in_prose(text, found):
  assert [text[a:b] for a, b in formulas.find(text)] == found
