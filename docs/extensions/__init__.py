"""What the documentation's build adds to Sphinx; imports no agent.

`formulas` reads the formulas of docstrings, `docstrings` makes reStructuredText
of them, `mathml` renders formulas without a script, `reference` lists the
public names, `lists` writes the tables that come from the code, `links` treats
those that lead out of `docs/`, and `check_site` tries all links of the built
site.
"""
