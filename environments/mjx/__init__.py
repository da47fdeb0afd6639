"""MuJoCo locomotion inside compiled functions, on mujoco-mjx.

`environments.make(name, backend='mjx')` makes one. Importing this package
imports neither MuJoCo nor MJX; its modules do.
"""
