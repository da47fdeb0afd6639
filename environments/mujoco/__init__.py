"""MuJoCo locomotion as task distributions.

`locomotion.make(name)` makes one. Importing this package imports neither MuJoCo
nor gymnasium; its modules do.
"""
